"""Give pytest the fixture ``parity``: one test body, both implementations, every exchange compared.

    def test_user(parity):
        answer = parity.get("/users/1")
        assert answer.status_code == 200

Every pytest run in an environment with the gateway loads this module, so nothing of the gateway is imported
before a test asks for the fixture.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.table.spec import CompareRule
    from gateway.testing.parity import Parity
    from gateway.testing.sides import Sides

MARKER = "parity_rule"
_PROPERTY = "gateway_parity"


class ParityWarning(UserWarning):
    """Warn of a rule that met nothing."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the fixture."""
    group = parser.getgroup("gateway", "gateway: compare both implementations")
    group.addoption("--gateway-config", metavar="FILE", help="the migration table (default: routing.yaml)")
    group.addoption(
        "--gateway-database-env",
        metavar="NAME",
        help="variable with the database's URL; each side gets a copy",
    )
    parser.addini("gateway_config", "the migration table, relative to this file (default: routing.yaml)")
    parser.addini("gateway_database_env", "variable with the database's URL; each side gets a copy")
    parser.addini(
        "gateway_base_url", "the address that both apps believe they are asked at (http://localhost)"
    )
    for side in ("legacy", "new"):
        parser.addini(
            f"gateway_{side}_env",
            f"NAME=VALUE lines that {side} is imported and started with",
            type="linelist",
        )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(at, rule='ignore', *, reason, by=None, regex=None): accept a difference between both "
        "implementations at a place (JSONPath, header:NAME, cookie:NAME, status, body) in this test",
    )


@pytest.fixture(scope="session")
def gateway_config(pytestconfig: pytest.Config) -> Path:
    """Return the path of the migration table; override it to choose another."""
    given = pytestconfig.getoption("--gateway-config")
    if given:
        return Path(pytestconfig.invocation_params.dir, given).absolute()
    written = str(pytestconfig.getini("gateway_config") or "")
    if not written and os.environ.get("GATEWAY_CONFIG"):
        return Path(os.environ["GATEWAY_CONFIG"]).absolute()
    return pytestconfig.rootpath / (written or "routing.yaml")


@pytest.fixture(scope="session")
def gateway_environments(pytestconfig: pytest.Config) -> Mapping[str, Mapping[str, str]]:
    """Return what is set in the environment while a side (``legacy``, ``new``) is imported and started.

    Override it to compute that.
    """
    return {side: _pairs(pytestconfig, f"gateway_{side}_env") for side in ("legacy", "new")}


@pytest.fixture(scope="session")
def gateway_sides(
    pytestconfig: pytest.Config,
    gateway_config: Path,
    gateway_environments: Mapping[str, Mapping[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Sides]:
    """Yield both implementations, started once for all tests of this process."""
    try:
        import httpx  # noqa: F401 - to say what to install, should it be missing
    except ModuleNotFoundError as exc:
        raise pytest.UsageError(
            "the fixture parity needs httpx: pip install 'strangler-gateway[testing]'"
        ) from exc
    from gateway.errors import GatewayError
    from gateway.testing.sides import Setup, opened

    name = pytestconfig.getoption("--gateway-database-env") or pytestconfig.getini("gateway_database_env")
    setup = Setup(gateway_config, tmp_path_factory.mktemp("parity"), gateway_environments, str(name or ""))
    context = opened(setup)
    try:
        sides = context.__enter__()
    except GatewayError as exc:
        pytest.fail(f"the two implementations could not be started:\n{exc}", pytrace=False)
    try:
        yield sides
    finally:
        context.__exit__(None, None, None)


@pytest.fixture
def parity(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, gateway_sides: Sides
) -> Iterator[Parity]:
    """Yield what sends each request to both implementations and compares their answers."""
    from gateway.compare.redaction import Redactor
    from gateway.testing.parity import Parity

    gateway_sides.reset()
    given = Parity(
        gateway_sides,
        redactor=Redactor(os.urandom(32), gateway_sides.snapshot.spec.compare.redact),
        rules=tuple(_rule(mark, request.node) for mark in request.node.iter_markers(MARKER)),
        base_url=str(pytestconfig.getini("gateway_base_url") or "http://localhost"),
    )
    try:
        yield given
    finally:
        given.close()
        outcomes = Counter(str(comparison.outcome) for _, comparison in given.comparisons)
        if outcomes:
            request.node.user_properties.append((_PROPERTY, dict(outcomes)))
    if given.comparisons and all(comparison.is_same for _, comparison in given.comparisons):
        for rule in given.idle_rules():
            message = f"{request.node.nodeid}: the rule {rule.rule} at {rule.at} met nothing; take it out"
            warnings.warn(ParityWarning(message), stacklevel=1)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many exchanges were compared, and how many differences were waived: never silently."""
    total: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown":
                for name, outcomes in getattr(report, "user_properties", ()):
                    if name == _PROPERTY:
                        total.update(outcomes)
    if total:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(total.items()))
        terminalreporter.write_line(f"parity: {sum(total.values())} exchanges compared: {counts}")


def _pairs(config: pytest.Config, option: str) -> dict[str, str]:
    pairs = {}
    for line in config.getini(option):
        name, separator, value = line.partition("=")
        if not separator or not name.strip():
            raise pytest.UsageError(f"{option}: {line!r} is not NAME=VALUE")
        pairs[name.strip()] = value.strip()
    return pairs


def _rule(mark: pytest.Mark, node: pytest.Item) -> CompareRule:
    from gateway.compare.rules import compile_rules
    from gateway.table.spec import CompareRule
    from gateway.table.values import RULES

    def read(
        at: str,
        rule: Any = "ignore",
        *,
        reason: str,
        by: float | None = None,
        regex: str | None = None,
    ) -> CompareRule:
        return CompareRule(at, rule, reason, by=by, regex=regex)

    try:
        found = read(*mark.args, **mark.kwargs)
    except TypeError as exc:
        words = re.sub(r"^.*read\(\)", "it", str(exc))
        raise pytest.UsageError(f"{node.nodeid}: @pytest.mark.{MARKER}: {words}") from exc
    if found.rule not in RULES:
        raise pytest.UsageError(
            f"{node.nodeid}: @pytest.mark.{MARKER}: there is no rule {found.rule!r}; {', '.join(RULES)} are"
        )
    broken = compile_rules([found]).broken
    if broken:
        raise pytest.UsageError(f"{node.nodeid}: @pytest.mark.{MARKER}: {broken[0][1]}")
    return found
