"""Name the known equivalences: differences that may count as none, switched per row, always shown as waived.

========================  ======================================================================
``key_order``             the members of an object stand in another order
``json_escapes``          the same values are spelled otherwise: ``\\u`` escapes, spaces between tokens
``trailing_newline``      white space around the document
``header_case``           header names in other letters (RFC 9110, 5.1: they have no case)
``date_format``           the same instant in another format
``number_form``           the same number in another form: 1, 1.0, "1.10"
``null_is_missing``       a member that is null on one side and not there on the other
``redirect_307_308``      307 for 308 and back, and the page under a redirect
========================  ======================================================================
"""

from __future__ import annotations

EQUIVALENCES = frozenset(
    {
        "key_order",
        "json_escapes",
        "trailing_newline",
        "header_case",
        "date_format",
        "number_form",
        "null_is_missing",
        "redirect_307_308",
    }
)
"""Every known equivalence."""

DEFAULT_EQUIVALENCES = frozenset({"key_order", "json_escapes", "trailing_newline", "header_case"})
"""Those that are on unless a table says otherwise: no JSON client can tell."""

STRICT: frozenset[str] = frozenset()
"""What ``strict: true`` leaves: none."""
