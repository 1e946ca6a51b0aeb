"""Decide whether two answers are the same to a client. Pure: values in, values out.

:func:`compare` is the engine; live shadowing, ``gateway compare`` and the pytest fixture all use it.
"""

from gateway.compare.difference import Comparison, Difference, Kind, Outcome, RuleCount, Waiver
from gateway.compare.engine import Terms, compare, terms_for
from gateway.compare.equivalences import DEFAULT_EQUIVALENCES, EQUIVALENCES, STRICT
from gateway.compare.observation import (
    Body,
    Effects,
    Observation,
    OutboundCall,
    Queries,
    Raised,
    RequestRecord,
    RowWrite,
)
from gateway.compare.pairing import Pairing
from gateway.compare.redaction import Redactor
from gateway.compare.rules import RuleSet, compile_rules
from gateway.compare.signature import Example, Finding, Findings, Signature, signature_of

__all__ = [
    "DEFAULT_EQUIVALENCES",
    "EQUIVALENCES",
    "STRICT",
    "Body",
    "Comparison",
    "Difference",
    "Effects",
    "Example",
    "Finding",
    "Findings",
    "Kind",
    "Observation",
    "OutboundCall",
    "Outcome",
    "Pairing",
    "Queries",
    "Raised",
    "Redactor",
    "RequestRecord",
    "RowWrite",
    "RuleCount",
    "RuleSet",
    "Signature",
    "Terms",
    "Waiver",
    "compare",
    "compile_rules",
    "signature_of",
    "terms_for",
]
