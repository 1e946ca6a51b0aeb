"""Legacy answers in new's stead with the whole request, or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import BackendTimeout
from gateway.serving.fallback import REPLAY_LIMIT_BYTES, answer_or_fall_back

if TYPE_CHECKING:
    from gateway.backends.base import Message, Receive, Scope, Send


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


async def test_a_request_that_was_kept_whole_is_repeated_after_a_timeout() -> None:
    must, replay = await answer_or_fall_back(hang, {}, client(1000), send, timeout_s=0.1)
    assert must
    assert sum([len((await replay.replay())["body"]) for _ in range(2)]) == 1000


async def test_a_request_too_large_to_keep_is_never_repeated_in_part() -> None:
    size = REPLAY_LIMIT_BYTES + 2
    with pytest.raises(BackendTimeout):
        await answer_or_fall_back(hang, {}, client(size), send, timeout_s=0.1)
    must, _replay = await answer_or_fall_back(say_nothing, {}, client(size), send, timeout_s=5)
    assert not must
