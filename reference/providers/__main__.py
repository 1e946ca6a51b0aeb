"""Run the providers: ``python -m reference.providers [--host 127.0.0.1] [--port 8900] [--latency-ms 0]``."""

from __future__ import annotations

import argparse

import uvicorn

from reference.providers.app import create_app


def main() -> None:
    """Read the command line and serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m reference.providers", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument(
        "--latency-ms", type=float, default=None, help="default: PROVIDERS_LATENCY_MS, else 0"
    )
    options = parser.parse_args()
    uvicorn.run(create_app(options.latency_ms), host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
