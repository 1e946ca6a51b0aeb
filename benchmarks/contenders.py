"""Know how every arrangement is started: the gateway as a user would, the others as their manuals say.

One worker each, no access log, the same number of threads for the Flask app.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.apps.new import path_of
from benchmarks.processes import Server, free_port, program, wait_until_answering

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.processes import Lab

LEGACY = "benchmarks.apps.legacy:app"
THREADS = 8


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Be servers that together answer on ``port``."""

    port: int
    servers: tuple[Server, ...]

    def check(self) -> None:
        """Raise :class:`~benchmarks.processes.NotStarted` when one of the servers is gone."""
        for server in self.servers:
            server.check()

    def memory_mib(self) -> float:
        """Return the proportional set size of all processes."""
        return sum(server.memory_mib() for server in self.servers)

    def cpu_s(self) -> float:
        """Return the processor time (seconds) that all processes have used until now."""
        return sum(server.cpu_s() for server in self.servers)


def write_table(
    path: Path,
    *,
    legacy: str = LEGACY,
    new: str,
    rows: Mapping[str, str],
    threads: int = THREADS,
) -> Path:
    """Write a migration table: ``rows`` from ``METHOD /path`` to a stage."""
    lines = [
        "version: 1",
        "backends:",
        f"  legacy: {{wsgi: {legacy!r}, threads: {threads}}}",
        f"  new: {{asgi: {new!r}}}",
        "routes:",
        *(f"  {key}: {stage}" for key, stage in rows.items()),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def rows_for(count: int) -> dict[str, str]:
    """Return one ``new`` row per resource, and the legacy row."""
    return {"GET /hello": "legacy"} | {f"GET {path_of(resource)}": "new" for resource in range(count)}


def start_gateway(
    lab: Lab, table: Path, *, name: str = "gateway", environ: Mapping[str, str] | None = None
) -> Arrangement:
    """Start ``gateway serve`` on a table, and wait until it is ready."""
    port = free_port()
    argv = [
        program("gateway"), "serve", "--config", str(table), "--port", str(port), "--admin", "off",
        "--log-level", "error",
    ]  # fmt: skip
    server = lab.start(name, argv, environ=environ)
    wait_until_answering(server, port, "/-/ready")
    return Arrangement(port, (server,))


def gateway(app: str, count: int, *, threads: int = THREADS) -> Callable[[Lab], Arrangement]:
    """Return how the gateway is started with one of the new apps, and a table that lists all of it."""

    def start(lab: Lab) -> Arrangement:
        table = lab.folder / f"routing-{free_port()}.yaml"
        write_table(table, new=f"benchmarks.apps.new:{app}()", rows=rows_for(count), threads=threads)
        return start_gateway(lab, table)

    return start


def _alone(name: str, argv: Callable[[int], Sequence[str]]) -> Callable[[Lab], Arrangement]:
    def start(lab: Lab) -> Arrangement:
        port = free_port()
        server = lab.start(name, argv(port))
        wait_until_answering(server, port)
        return Arrangement(port, (server,))

    return start


def uvicorn(app: str, *options: str) -> Callable[[Lab], Arrangement]:
    """Return how an ASGI app is started under uvicorn, with further ``options``."""

    def argv(port: int) -> list[str]:
        return [
            program("uvicorn"), app, *options, "--port", str(port), "--loop", "uvloop", "--http", "httptools",
            "--no-access-log", "--log-level", "warning",
        ]  # fmt: skip

    return _alone("uvicorn", argv)


def fastapi(app: str) -> Callable[[Lab], Arrangement]:
    """Return how one of the new apps is started alone."""
    return uvicorn(f"benchmarks.apps.new:{app}", "--factory")


gunicorn = _alone(
    "gunicorn",
    lambda port: [
        program("gunicorn"), "-k", "gthread", "-w", "1", "--threads", str(THREADS), "--keep-alive", "75",
        "-b", f"127.0.0.1:{port}", "--log-level", "error", LEGACY,
    ],
)  # fmt: skip
granian = _alone(
    "granian",
    lambda port: [
        program("granian"), "--interface", "wsgi", "--workers", "1", "--blocking-threads", str(THREADS),
        "--port", str(port), "--log-level", "error", LEGACY,
    ],
)  # fmt: skip
waitress = _alone(
    "waitress",
    lambda port: [
        program("waitress-serve"), f"--listen=127.0.0.1:{port}", f"--threads={THREADS}", LEGACY
    ],
)  # fmt: skip


def nginx(app: str) -> Callable[[Lab], Arrangement]:
    """Return how nginx is started in front of gunicorn (legacy) and uvicorn (new)."""

    def start(lab: Lab) -> Arrangement:
        binary = program("nginx")
        legacy, new = gunicorn(lab), fastapi(app)(lab)
        port = free_port()
        folder = lab.folder / f"nginx-{port}"
        folder.mkdir()
        (folder / "nginx.conf").write_text(_nginx_config(folder, port, legacy.port, new.port))
        argv = [binary, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
        server = lab.start("nginx", argv)
        wait_until_answering(server, port)
        return Arrangement(port, (server, *legacy.servers, *new.servers))

    return start


def _nginx_config(folder: Path, port: int, legacy: int, new: int) -> str:
    proxied = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;'
    places = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
daemon off;
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  {places}
  keepalive_requests 1000000000;
  upstream legacy {{ server 127.0.0.1:{legacy}; keepalive 64; keepalive_requests 1000000000; }}
  upstream new {{ server 127.0.0.1:{new}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location = /hello {{ {proxied} proxy_pass http://legacy; }}
    location / {{ {proxied} proxy_pass http://new; }}
  }}
}}
"""


def envoy(app: str) -> Callable[[Lab], Arrangement]:
    """Return how Envoy (one event loop) is started in front of gunicorn (legacy) and uvicorn (new)."""

    def start(lab: Lab) -> Arrangement:
        binary = program("envoy")
        legacy, new = gunicorn(lab), fastapi(app)(lab)
        port = free_port()
        config = lab.folder / f"envoy-{port}.yaml"
        config.write_text(_envoy_config(port, legacy.port, new.port))
        argv = [
            binary, "-c", str(config), "--concurrency", "1", "--disable-hot-restart",
            "--log-level", "critical",
        ]  # fmt: skip
        server = lab.start("envoy", argv)
        wait_until_answering(server, port)
        return Arrangement(port, (server, *legacy.servers, *new.servers))

    return start


def _envoy_config(port: int, legacy: int, new: int) -> str:
    clusters = "".join(
        f"""\
    - name: {name}
      type: STATIC
      connect_timeout: 2s
      load_assignment:
        cluster_name: {name}
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {number}}}}}}}
"""
        for name, number in (("legacy", legacy), ("new", new))
    )
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "envoy.extensions.filters.http.router.v3.Router"
    return f"""\
static_resources:
  listeners:
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - filters:
            - name: http
              typed_config:
                "@type": type.googleapis.com/{manager}
                stat_prefix: bench
                generate_request_id: false
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - {{match: {{path: /hello}}, route: {{cluster: legacy}}}}
                        - {{match: {{prefix: /}}, route: {{cluster: new}}}}
                http_filters:
                  - name: router
                    typed_config: {{"@type": type.googleapis.com/{router}}}
  clusters:
{clusters}"""
