"""Second calls begin where no client is being served, one by one, and never wait in vain for long."""

from __future__ import annotations

import asyncio

from gateway.shadowing import lull
from gateway.shadowing.lull import Lull


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_where_nobody_is_served_a_call_begins_at_once() -> None:
    await asyncio.wait_for(Lull(lambda: False).wait(), 5)


async def test_while_a_client_is_served_calls_wait_and_then_begin_one_by_one() -> None:
    is_busy = True
    begun: list[int] = []
    quiet = Lull(lambda: is_busy)

    async def call(number: int) -> None:
        nonlocal is_busy
        await quiet.wait()
        begun.append(number)
        is_busy = True  # with each call comes another client

    calls = [asyncio.ensure_future(call(number)) for number in range(3)]
    for number in range(3):
        await turns(20)
        assert begun == list(range(number))
        is_busy = False
        quiet.comes()
        await turns(20)
        assert begun == list(range(number + 1))
    await asyncio.gather(*calls)


async def test_who_has_waited_in_vain_spares_the_others_the_wait() -> None:
    quiet = Lull(lambda: True)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await quiet.wait()
    assert loop.time() - began_s >= lull.PATIENCE_S * 0.9
    waiting = asyncio.gather(*(quiet.wait() for _ in range(20)))
    await turns(200)
    assert waiting.done()
    quiet.comes()  # nobody waits any more, which harms nobody


async def test_a_client_that_comes_as_the_last_one_leaves_is_served_first() -> None:
    is_busy = True
    quiet = Lull(lambda: is_busy)
    waiting = asyncio.ensure_future(quiet.wait())
    await turns(20)
    for _ in range(3):
        is_busy = False
        quiet.comes()
        await turns(1)  # what waited in the socket is read
        is_busy = True
        await turns(20)
        assert not waiting.done()
    is_busy = False
    quiet.comes()
    await asyncio.wait_for(waiting, lull.PATIENCE_S / 2)
