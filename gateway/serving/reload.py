"""Notice that the table has changed, and say so once it has been still for a moment.

The directory is watched, not the file: after an atomic rename a watch on the file goes deaf, and
Kubernetes swaps a symlink beside it. File systems that report nothing are polled. Whatever is seen,
only the file's content counts: the same bytes again are no change.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from typing import TYPE_CHECKING

from watchfiles import awatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

log = logging.getLogger("gateway")

STILL_MS = 100
POLL_MS = 1_000


def digest_of(path: Path) -> str:
    """Return SHA-256 (hex) of the file's bytes, or an empty string when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


async def watch_file(
    path: Path, seen: str, on_change: Callable[[], Awaitable[None]], stop: asyncio.Event
) -> None:
    """Call ``on_change`` after each change of the file's content, until ``stop`` is set.

    ``seen`` is the digest that was loaded. An exception of ``on_change`` is logged, and watching goes on.
    """
    while not stop.is_set():
        try:
            async for _changes in awatch(
                path.parent,
                watch_filter=None,
                debounce=STILL_MS * 4,
                step=STILL_MS,
                rust_timeout=POLL_MS,
                yield_on_timeout=True,
                recursive=False,
                stop_event=stop,
            ):
                digest = await asyncio.to_thread(digest_of, path)
                if digest != seen:
                    seen = digest
                    await on_change()
        except Exception:
            log.exception("watching %s failed; it is tried again", path)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), POLL_MS / 1000)
