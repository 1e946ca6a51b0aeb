"""Parse, call, print: one module a verb, no logic."""
