"""Put an order to the running gateway: what ``hold``, ``resume`` and the ``--live`` moves share."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from typing import TYPE_CHECKING, Any

from gateway.cli import live
from gateway.cli.loaded import WRONG_USAGE, refuse
from gateway.cli.output import STAGE_STYLES, out
from gateway.cli.target import find_target, suggest
from gateway.table.spec import RouteSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gateway.table.spec import Stage

_DONE = {"held": "held at ", "resumed": "resumed at "}


def find_route(text: str, routes: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """Return id and key of the route that ``text`` means among those of ``/api/routes``; exit with 2."""
    rows = [
        RouteSpec(each["key"], each["key"], 0, tuple(each["key"].partition(" ")[0].split(",")), each["path"])
        for each in routes
    ]
    ids = {each["key"]: str(each["id"]) for each in routes}
    target = find_target(text, rows)
    if target is None:
        hint = suggest(text, rows) or "`gateway status` lists them all"
        refuse(f"no row is called {text!r}; {hint}", WRONG_USAGE)
    if target.key != target.spec.key:
        refuse(
            f"{target.key} is a part of the row {target.spec.key!r}, which moves as a whole on a running "
            f"gateway; name that, or split it in the file: gateway promote '{target.key}'",
            WRONG_USAGE,
        )
    return ids[target.spec.key], target.spec.key


def put(
    verb: str,
    route: str,
    *,
    config: Path,
    admin: str | None,
    reason: str | None = None,
    to: Stage | None = None,
    weight: str | None = None,
    is_dry: bool = False,
) -> int:
    """Put the order, print what came of it and what to type next; exit as the refusal says."""
    try:
        listener = live.find_admin(config, admin)
        route_id, _ = find_route(route, listener.get("/api/routes")["routes"])
        body = {
            "to": str(to) if to is not None else None,
            "weight": weight,
            "reason": reason,
            "by": somebody(),
        }
        order = {name: value for name, value in body.items() if value is not None}
        answer = listener.post(f"/api/routes/{route_id}/{verb}", {**order, "dry_run": is_dry})
    except live.NoGatewayError as exc:
        live.refuse_unreachable(exc)
    except live.RefusedError as exc:
        refuse(str(exc), exc.exit_code)
    _say(verb, answer)
    return 0


def somebody() -> str:
    """Return who gives the order, as it stands in events: ``ada@build-7``."""
    name = str(os.getuid())
    with contextlib.suppress(Exception):  # getpass raises differently where nobody has a name
        name = getpass.getuser()
    return f"{name}@{socket.gethostname()}"


def _say(verb: str, answer: Mapping[str, Any]) -> None:
    key, before, after = answer["route"]["key"], answer["before"], answer["after"]
    if not answer["changed"]:
        out(f"{answer['sentence']}; nothing to do." if ";" not in answer["sentence"] else answer["sentence"])
        return
    if before == after:
        what: list[str | tuple[str, str]] = [_DONE.get(answer["kind"], ""), _step(after)]
    else:
        what = [_step(before), " → ", _step(after)]
    out((key, "bold"), ": ", *what, ("  (dry run: nothing was changed)", "dim") if answer["is_dry"] else "")
    out(f"  {answer['sentence']}")
    if after != answer["file"]:
        out(f"  the file says {answer['file']}, and stays as it is")
    if not answer["is_dry"]:
        out("")
        out(*_next(verb, key))


def _step(step: str) -> tuple[str, str]:
    return (step, STAGE_STYLES.get(step.partition(" ")[0], ""))


def _next(verb: str, key: str) -> list[str | tuple[str, str]]:
    back = {
        "promote": ("Back: ", f"gateway rollback --live '{key}'"),
        "rollback": (
            "What differs: ",
            f"gateway differences '{key}'",
            "   Again: ",
            f"gateway resume '{key}'",
        ),
        "hold": ("Go on: ", f"gateway resume '{key}'"),
        "resume": ("Watch it: ", f"gateway status --watch '{key}'"),
    }[verb]
    return [(text, "bold") if index % 2 else text for index, text in enumerate(back)]
