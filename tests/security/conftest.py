"""Start the gateways under attack: one that trusts nobody, one that trusts a proxy on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.projects import make_project, served
from tests.security.attacked import LEGACY, NEW, ROUTES, Attacked

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    project = make_project(tmp_path_factory.mktemp("attacked"), LEGACY, NEW, ROUTES)
    with served(project.folder, environ={"OVERRIDE": "sesame"}) as running:
        yield Attacked(running)


@pytest.fixture(scope="package")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    routes = ROUTES.replace("server:", "server:\n      trusted_proxies: [127.0.0.1, 10.0.0.0/8]")
    project = make_project(tmp_path_factory.mktemp("trusting"), LEGACY, NEW, routes)
    with served(project.folder, environ={"OVERRIDE": "sesame"}) as running:
        yield Attacked(running)


@pytest.fixture(scope="package")
def distrusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    routes = ROUTES.replace("server:", "server:\n      trusted_proxies: [10.0.0.0/8]")
    project = make_project(tmp_path_factory.mktemp("distrusting"), LEGACY, NEW, routes)
    with served(project.folder, environ={"OVERRIDE": "sesame"}) as running:
        yield Attacked(running)
