"""Dispatch every verb but the serving ones: import its module, call it, turn what it raises into one line."""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import TYPE_CHECKING, Any

import typer

from gateway.cli.loaded import FINDINGS, NOT_STARTED, WRONG_USAGE
from gateway.cli.output import err
from gateway.errors import BackendError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = {
    "init": "Write a first routing.yaml for two apps.",
    "serve": "Serve the two apps behind one address.",
    "dev": "Serve, and restart whenever a Python file changes.",
    "routes": "List every endpoint of either app, and who answers.",
    "explain": "Say which row a request matches, why, and who would answer.",
    "check": "Hold the table against both apps and report every problem.",
    "status": "Show where every route stands, and what to type next.",
    "promote": "Move a route one stage forward, in the file or live.",
    "rollback": "Move a route back to where legacy answers.",
    "hold": "Stop automatic moves of a route that is live.",
    "resume": "Lift a hold or a rollback of a route that is live.",
    "differences": "List what comparisons found, and show one whole.",
    "compare": "Send the same requests to both apps, and fail where a client would notice.",
    "record": "Serve, and record what is served into a corpus for compare.",
    "schema": "Print the JSON Schema of routing.yaml.",
}
SERVING_VERBS = ("serve", "dev", "record")
INTERRUPTED = 130


def run(arguments: Sequence[str]) -> int:
    """Run one verb and return its exit status."""
    verb = arguments[0] if arguments else "--help"
    if not verb.startswith("-") and verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean `gateway {near[0]}`?" if near else "`gateway --help` lists them"
        err(f"gateway: there is no verb {verb!r}; {hint}")
        return WRONG_USAGE
    wanted = [verb] if verb in VERBS else list(VERBS)
    try:
        status = _program(wanted)(list(arguments) or ["--help"], prog_name="gateway", standalone_mode=False)
    except BackendError as exc:
        err(str(exc))
        return NOT_STARTED
    except GatewayError as exc:
        err(f"gateway: {exc}")
        return FINDINGS
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # who reads us has enough; Python would complain about it at exit
        return 0
    except Exception as exc:
        return _usage_error(exc, verb)
    return status if isinstance(status, int) else 0


def _usage_error(exc: Exception, verb: str) -> int:
    """Say in one line what was wrong with the call; raise anything else again (a bug deserves its traceback).

    Typer raises click's exceptions, or those of its own copy of click: they are known by what they can do.
    """
    if type(exc).__name__ == "Abort":
        return INTERRUPTED
    if not hasattr(exc, "format_message"):
        raise exc
    message = exc.format_message().rstrip(".").replace("Value error, ", "")  # pydantic's words, not ours
    err(f"gateway {verb}: {message}; see `gateway {verb} --help`")
    return WRONG_USAGE


def _program(verbs: Sequence[str]) -> Any:
    app = typer.Typer(
        help="Move an API from Flask to FastAPI endpoint by endpoint, behind one base URL.",
        epilog="Start with `gateway init --legacy app:app --new api:app`, then `gateway serve`.",
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def gateway() -> None:
        pass

    gateway.__doc__ = None
    for verb in verbs:
        if verb in SERVING_VERBS:
            app.command(verb, help=VERBS[verb])(_listed_only)
        else:
            module = importlib.import_module(f"gateway.cli.{verb}")
            context = {"help_option_names": ["--help"]} if verb == "explain" else None
            app.command(verb, help=VERBS[verb], context_settings=context)(module.run)
    return app


def _listed_only() -> None:
    """Stand for a serving verb in the list of verbs; :func:`gateway.cli.main` runs it."""
