"""Measure what needs more than closed-loop load: one module a question, each with a ``measure(bench)``."""
