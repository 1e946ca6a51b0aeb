"""Make the backend that the table describes: one case a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.backends.a2wsgi_bridge import A2wsgiBridge
from gateway.backends.asgi import AsgiBackend
from gateway.backends.bridge import WsgiBridge
from gateway.backends.process import ManagedProcess
from gateway.backends.upstream import Upstream

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.backends.base import Backend
    from gateway.table.spec import BackendSpec


def make_backend(spec: BackendSpec, app: Any, folder: Path) -> Backend:
    """Return the backend of ``spec``; ``app`` was imported for it, ``folder`` is where a command runs."""
    match spec.kind:
        case "wsgi":
            bridge = WsgiBridge if spec.bridge == "gateway" else A2wsgiBridge
            return bridge(
                app, threads=spec.threads, queue=spec.queue, root_path=spec.root_path, name=spec.name
            )
        case "asgi":
            return AsgiBackend(app, root_path=spec.root_path, name=spec.name)
        case "url":
            return Upstream(
                spec.target,
                pool=spec.pool,
                connect_timeout_s=spec.connect_timeout_s,
                root_path=spec.root_path,
                name=spec.name,
            )
        case "command":
            return ManagedProcess(
                spec.argv,
                pool=spec.pool,
                connect_timeout_s=spec.connect_timeout_s,
                root_path=spec.root_path,
                name=spec.name,
                cwd=folder,
            )


async def probe(backend: Backend) -> None:
    """Try a connection to a backend that runs elsewhere, so that its health is of this moment."""
    if isinstance(backend, Upstream | ManagedProcess):
        await backend.probe()


def describe_backend(spec: BackendSpec) -> str:
    """Return what a backend is, in one line for people."""
    return f"{spec.kind} {spec.target or ' '.join(spec.argv)}"
