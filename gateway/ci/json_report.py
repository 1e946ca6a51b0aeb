"""Write a run as JSON, for machines. Every value in it has been redacted before it came here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.ci.terminal import missing

if TYPE_CHECKING:
    from gateway.ci.proposing import Noise
    from gateway.ci.results import Exchange, RowTally, Run
    from gateway.compare.difference import Difference
    from gateway.compare.noise import PlaceEvidence
    from gateway.compare.signature import Finding

FORMAT = 1
"""Grows when a member changes its meaning or goes."""


def json_report(run: Run) -> str:
    """Return the whole run as an indented JSON document."""
    return json.dumps(as_json(run), indent=2, ensure_ascii=False) + "\n"


def as_json(run: Run) -> dict[str, Any]:
    """Return the run as JSON-able values."""
    return {
        "format": FORMAT,
        "verdict": run.verdict.name.lower(),
        "exit_code": int(run.verdict),
        "sides": list(run.sides),
        "selection": {
            "how": run.selection.how,
            "rows": [route.key for route in run.selection.routes],
            "left_out": [{"row": key, "why": why} for key, why in run.selection.left_out],
        },
        "crash": None
        if run.crash is None
        else {"text": run.crash.text, "log": run.crash.log, "log_file": run.crash.path},
        "scenarios": {"all": run.scenario_count, "done": run.scenarios_done},
        "elapsed_s": round(run.elapsed_s, 3),
        "judging_s": round(run.judging_s, 3),
        "rows": [_row(row) for row in run.rows],
        "findings": [_finding(finding) for finding in run.failing],
        "accepted": [_finding(finding) | {"reason": reason} for finding, reason in run.accepted],
        "waived": [_finding(finding) for finding in run.findings if finding.is_waived],
        "rules": [
            {
                "row": each.route,
                "line": each.rule.line,
                "at": each.rule.at,
                "rule": each.rule.rule,
                "state": each.state,
                "waived": each.waived,
                "detail": each.detail,
            }
            for each in run.rules
        ],
        "correlations": [
            {
                "scenario": each.scenario,
                "from": {"request": each.giver, "place": each.giver_place},
                "to": {"request": each.taker, "place": each.taker_place},
            }
            for each in run.correlations
        ],
        "noise": _noise(run.noise) if run.noise is not None else None,
        "failures": list(run.failures),
        "missing": missing(run),
        "notes": list(run.notes),
        "exchanges": [_exchange(each) for each in run.exchanges],
    }


def _noise(noise: Noise) -> dict[str, Any]:
    return {
        "requests": noise.requests,
        "proposals": [
            _evidence(each.route, each.proposal.evidence) | {"rule": each.proposal.rule.rule}
            for each in noise.proposals
        ],
        "undecided": [_evidence(each.route, each.evidence) | {"why": each.why} for each in noise.undecided],
    }


def _evidence(route: str, evidence: PlaceEvidence) -> dict[str, Any]:
    return {
        "row": route,
        "place": evidence.place,
        "requests": evidence.requests,
        "both": evidence.both,
        "control_only": evidence.control_only,
        "candidate_only": evidence.candidate_only,
        "p_value": evidence.p_value,
    }


def _row(row: RowTally) -> dict[str, Any]:
    return {
        "row": row.key,
        "id": row.route.id,
        "stage": row.route.spec.stage.value,
        "is_selected": row.is_selected,
        "is_exercised": row.is_exercised,
        "requests": row.requests,
        "outcomes": {outcome.value: count for outcome, count in sorted(row.outcomes.items())},
        "status_classes": dict(sorted(row.status_classes.items())),
        "parameters": {name: len(values) for name, values in sorted(row.parameters.items())},
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "row": finding.signature.route,
        "kind": finding.signature.kind.value,
        "place": finding.signature.place,
        "count": finding.count,
        "difference": difference_json(finding.difference),
        "examples": [
            {
                "method": example.request.method,
                "url": example.request.url,
                "curl": example.curl,
                "difference": difference_json(example.difference),
            }
            for example in finding.examples
        ],
    }


def difference_json(difference: Difference) -> dict[str, Any]:
    """Return one difference as JSON-able values."""
    return {
        "kind": difference.kind.value,
        "place": difference.place,
        "control": difference.control,
        "candidate": difference.candidate,
        "message": difference.message,
        "waiver": str(difference.waiver) if difference.waiver else None,
        "diff": difference.diff,
    }


def _exchange(exchange: Exchange) -> dict[str, Any]:
    return {
        "scenario": exchange.scenario,
        "number": exchange.number,
        "source": exchange.source,
        "method": exchange.request.method,
        "url": exchange.request.url,
        "row": exchange.route,
        "is_selected": exchange.is_selected,
        "control_status": exchange.control_status,
        "candidate_status": exchange.candidate_status,
        "outcome": exchange.outcome.value if exchange.outcome else None,
        "differences": [difference_json(each) for each in exchange.differences],
        "omitted": exchange.omitted,
        "note": exchange.note,
        "raised": [{"side": side, "text": text} for side, text in exchange.raised],
    }
