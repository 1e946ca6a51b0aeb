"""Legacy answers in new's stead with the whole request, or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import BackendTimeout
from gateway.serving.fallback import REPLAY_LIMIT_BYTES, Attempt, Replay

if TYPE_CHECKING:
    from gateway.backends.base import AsgiApp, Message, Receive, Scope, Send


async def hang(_scope: Scope, receive: Receive, _send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await asyncio.Event().wait()


async def say_nothing(_scope: Scope, receive: Receive, _send: Send) -> None:
    while (await receive()).get("more_body"):
        pass


def client(size: int) -> Receive:
    """Return the receive of a client that sends ``size`` bytes in two pieces."""
    messages: list[Message] = [
        {"type": "http.request", "body": bytes(size // 2), "more_body": True},
        {"type": "http.request", "body": bytes(size - size // 2), "more_body": False},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    return receive


async def send(message: Message) -> None:
    raise AssertionError(f"nothing is to be sent, and {message} was")


async def answer(new: AsgiApp, size: int, *, limit_s: float) -> tuple[bool, Replay]:
    """Let ``new`` try to answer a request with a body of ``size`` bytes within ``limit_s`` seconds."""
    attempt = Attempt(client(size), send)
    timer = asyncio.get_running_loop().call_later(limit_s, attempt.expire)
    try:
        return await attempt.answer(new, {}), attempt.replay
    finally:
        timer.cancel()


async def test_a_request_that_was_kept_whole_is_repeated_after_a_timeout() -> None:
    must, replay = await answer(hang, 1000, limit_s=0.1)
    assert must
    assert sum([len((await replay.replay())["body"]) for _ in range(2)]) == 1000


async def test_a_request_too_large_to_keep_is_never_repeated_in_part() -> None:
    size = REPLAY_LIMIT_BYTES + 2
    with pytest.raises(BackendTimeout):
        await answer(hang, size, limit_s=0.1)
    must, _replay = await answer(say_nothing, size, limit_s=5)
    assert not must


async def test_an_attempt_that_cancels_itself_has_failed() -> None:
    async def cancel_itself(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise asyncio.CancelledError

    must, _replay = await answer(cancel_itself, 10, limit_s=5)
    assert must


async def test_an_attempt_that_is_left_reads_nothing_of_what_legacy_is_to_read() -> None:
    read: list[Message] = []
    goes_on, is_over = asyncio.Event(), asyncio.Event()

    async def goes_on_reading(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        while not goes_on.is_set():
            try:
                await goes_on.wait()
            except asyncio.CancelledError:
                continue
        read.append(await receive())
        is_over.set()

    must, replay = await answer(goes_on_reading, 1000, limit_s=0.1)
    assert must
    goes_on.set()
    await asyncio.wait_for(is_over.wait(), 10)
    assert read == [{"type": "http.disconnect"}]
    assert sum([len((await replay.replay())["body"]) for _ in range(2)]) == 1000
