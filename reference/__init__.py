"""Operate the reference migration: its schema, its demo data, its providers, and ``make run``.

The two apps (:mod:`legacy_flask`, :mod:`new_api`) share the tables that this package owns, and no
code: nothing here imports either app, and neither app imports this package.
"""
