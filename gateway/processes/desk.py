"""Put what a person asks to one serving worker, and tell all of them when it changed something.

A worker that ends, or is stuck, is no reason to leave a person without an answer: another one is asked, as
long as asking twice does no harm. Going "one step further" twice would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import OrderRefused
from gateway.processes.child import WorkerGoneError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.processes.child import Child
    from gateway.processes.control import Message

PATIENCE_S = 5.0
"""How long a person waits for an answer, at most."""

TRIES = 2


class Desk:
    """Take orders for the workers that ``workers`` returns."""

    def __init__(self, workers: Callable[[], Sequence[Child]]) -> None:
        self._workers = workers

    async def ask(self, order: Message) -> Message:
        """Return the answer of a serving worker to ``order``; raise :class:`OrderRefused`.

        Nobody that serves, or no answer within :data:`PATIENCE_S`, is a 503.
        """
        serving = [worker for worker in self._workers() if worker.state == "serving"]
        if not serving:
            raise OrderRefused(503, "no worker is serving now; ask again in a moment")
        asked = serving[:TRIES] if _is_repeatable(order) else serving[:1]
        why = ""
        for worker in asked:
            try:
                answer = await worker.ask(order, timeout_s=PATIENCE_S / len(asked))
            except WorkerGoneError as gone:
                why = str(gone)
            except TimeoutError:
                why = f"worker {worker.slot} (pid {worker.pid}) does not answer"
            else:
                if answer.get("changed") and not answer.get("is_dry"):
                    self._tell_all({"do": "refresh"})
                return answer
        self._tell_all({"do": "refresh"})  # it may have been done all the same
        raise OrderRefused(503, f"{why}; `gateway status` says whether anything was done")

    def _tell_all(self, message: Message) -> None:
        for worker in self._workers():
            if worker.is_ready:
                worker.tell(message)


def _is_repeatable(order: Message) -> bool:
    """Tell whether an order that was carried out already changes nothing when it is again."""
    return order.get("verb") != "promote" or bool(order.get("to") or order.get("weight"))
