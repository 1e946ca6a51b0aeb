"""Be the table of what is compared with what, and what the figure should be.

Everything that wrk can measure stands here; what needs a client of its own is in ``trials/``.
"""

from __future__ import annotations

from benchmarks.contenders import envoy, fastapi, gateway, granian, gunicorn, nginx, uvicorn, waitress
from benchmarks.findings import at_least, at_most
from benchmarks.load import CONNECTIONS, Load
from benchmarks.race import Claim, Race, Runner

HELLO = (Load(("/hello",), contains=b'"hello"', served_by="legacy"),)
NOBODYS = (Load(("/nobody/knows/this",), status=404, served_by="legacy"),)


def _last(count: int) -> tuple[Load]:
    """Ask for the last of ``count`` resources, which a router that scans finds last."""
    path = f"/resource-{count - 1}/7"
    return (Load((path,), contains=f'"resource-{count - 1}"'.encode(), served_by="new"),)


def _all(count: int) -> tuple[Load]:
    """Ask for all of ``count`` resources in turn."""
    return (Load(tuple(f"/resource-{i}/7" for i in range(count)), contains=b'"resource-', served_by="new"),)


def _half(count: int) -> tuple[Load, Load]:
    """Give half of the connections to new and half to legacy."""
    path = f"/resource-{count - 1}/7"
    half = CONNECTIONS // 2
    return (
        Load((path,), half, contains=b'"resource-', served_by="new", name="new"),
        Load(("/hello",), half, contains=b'"hello"', served_by="legacy", name="legacy"),
    )


def _alternating(count: int) -> tuple[Load]:
    """Ask new and legacy in turn, on every connection."""
    return (Load((f"/resource-{count - 1}/7", "/hello")),)


LEGACY = Race(
    "legacy",
    "A legacy row (Flask, one JSON answer)",
    (
        Runner("gateway", gateway("flat_1", 1), HELLO),
        Runner("gunicorn gthread", gunicorn, HELLO),
        Runner("granian WSGI", granian, HELLO),
        Runner("waitress", waitress, HELLO),
        Runner("a2wsgi", uvicorn("benchmarks.apps.legacy:a2wsgi", "--factory"), HELLO),
        Runner(
            "asgiref", uvicorn("benchmarks.apps.legacy:asgiref", "--factory", "--reset-contextvars"), HELLO
        ),
        Runner("starlette", uvicorn("benchmarks.apps.legacy:starlette", "--factory"), HELLO),
    ),
    (
        Claim("requests/s ÷ gunicorn gthread, 8 threads", "rate", "gateway", "gunicorn gthread", at_least(2)),
        Claim("requests/s ÷ a2wsgi under uvicorn", "rate", "gateway", "a2wsgi", at_least(2.7)),
        Claim("requests/s ÷ granian WSGI, 8 threads", "rate", "gateway", "granian WSGI", at_least(0.85)),
        Claim("requests/s ÷ waitress, 8 threads", "rate", "gateway", "waitress"),
        Claim("requests/s ÷ asgiref under uvicorn", "rate", "gateway", "asgiref"),
        Claim("requests/s ÷ Starlette's bridge under uvicorn", "rate", "gateway", "starlette"),
        Claim("p99 ÷ gunicorn's", "p99", "gateway", "gunicorn gthread", at_most(0.5)),
    ),
)

NEW = Race(
    "new",
    "A new row (FastAPI, path parameter, response model), against the bare app under uvicorn",
    (
        Runner("gateway, 1 route", gateway("flat_1", 1), _last(1)),
        Runner("FastAPI, 1 route", fastapi("flat_1"), _last(1)),
        Runner("gateway, 100 routers", gateway("routers_100", 100), _last(100)),
        Runner("FastAPI, 100 routers", fastapi("routers_100"), _last(100)),
        Runner("gateway, 100 routers, all in turn", gateway("routers_100", 100), _all(100)),
        Runner("FastAPI, 100 routers, all in turn", fastapi("routers_100"), _all(100)),
        Runner("gateway, 400 routers", gateway("routers_400", 400), _last(400)),
        Runner("FastAPI, 400 routers", fastapi("routers_400"), _last(400)),
    ),
    (
        Claim("requests/s, 1 route", "rate", "gateway, 1 route", "FastAPI, 1 route", at_least(1)),
        Claim(
            "requests/s, 100 routers, the last one",
            "rate",
            "gateway, 100 routers",
            "FastAPI, 100 routers",
            at_least(3),
        ),
        Claim(
            "requests/s, 100 routers, all in turn",
            "rate",
            "gateway, 100 routers, all in turn",
            "FastAPI, 100 routers, all in turn",
        ),
        Claim(
            "requests/s, 400 routers, the last one",
            "rate",
            "gateway, 400 routers",
            "FastAPI, 400 routers",
            at_least(8),
        ),
    ),
)

SIZE = Race(
    "size",
    "2,000 rows against 10",
    (
        Runner("new, 10 rows", gateway("flat_10", 10), _last(10)),
        Runner("new, 2,000 rows", gateway("flat_2000", 2000), _last(2000)),
        Runner("fallback to legacy, 10 rows", gateway("flat_10", 10), NOBODYS),
        Runner("fallback to legacy, 2,000 rows", gateway("flat_2000", 2000), NOBODYS),
    ),
    (
        Claim("time per request of a new row", "time", "new, 2,000 rows", "new, 10 rows", at_most(1.1)),
        Claim(
            "time per request of a path in no row (legacy's 404)",
            "time",
            "fallback to legacy, 2,000 rows",
            "fallback to legacy, 10 rows",
            at_most(1.1),
        ),
    ),
)

MIXED = Race(
    "mixed",
    "Half of 32 connections on new, half on legacy, 100 routers, one core",
    (
        Runner("gateway", gateway("routers_100", 100), _half(100)),
        Runner("nginx + gunicorn + uvicorn", nginx("routers_100"), _half(100)),
    ),
    (
        Claim("new's p99 ÷ behind nginx", "p99 new", "gateway", "nginx + gunicorn + uvicorn", at_most(0.3)),
        Claim(
            "legacy's p99 ÷ behind nginx", "p99 legacy", "gateway", "nginx + gunicorn + uvicorn", at_most(0.8)
        ),
        Claim("requests/s ÷ behind nginx", "rate", "gateway", "nginx + gunicorn + uvicorn"),
    ),
)

INSTEAD = Race(
    "instead",
    "One gateway process against a proxy and two processes, one core, half the traffic each way, 100 routers",
    (
        Runner("gateway", gateway("routers_100", 100), _alternating(100)),
        Runner("nginx + gunicorn + uvicorn", nginx("routers_100"), _alternating(100)),
        Runner("Envoy + gunicorn + uvicorn", envoy("routers_100"), _alternating(100)),
    ),
    (
        Claim("requests/s ÷ nginx's", "rate", "gateway", "nginx + gunicorn + uvicorn", at_least(1.8)),
        Claim(
            "memory ÷ nginx's, supervisor and masters included",
            "memory",
            "gateway",
            "nginx + gunicorn + uvicorn",
            at_most(0.8),
        ),
        Claim("requests/s ÷ Envoy's", "rate", "gateway", "Envoy + gunicorn + uvicorn", at_least(1.5)),
        Claim("memory ÷ Envoy's", "memory", "gateway", "Envoy + gunicorn + uvicorn", at_most(0.8)),
    ),
)

RACES = (LEGACY, NEW, SIZE, MIXED, INSTEAD)
