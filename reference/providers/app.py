"""Answer as three providers do, as slowly and as badly as one asks: ``python -m reference.providers``.

``PUT /control`` sets each provider's latency and failure while it runs; ``GET /control/calls`` lists
the writes that were received, so that effects can be counted. Answers depend on the request alone
(a payment's reference comes from its idempotency key), so that two apps can be compared.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import deque
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

Provider = Literal["payment", "mail", "analytics"]


class Mood(BaseModel):
    """Say how a provider behaves: ``latency_ms`` before each answer, ``status`` 0 for its usual answer."""

    latency_ms: float = Field(default=0, ge=0, le=60_000)
    status: int = Field(default=0, ge=0, le=599)


class Payment(BaseModel):
    """Ask for money, in cents. More than 100,000 is declined."""

    amount_cents: int = Field(ge=0)


class Mail(BaseModel):
    """Ask for a mail to be sent."""

    recipient: str
    subject: str


class Event(BaseModel):
    """Tell analytics that something happened."""

    name: str
    order_id: int | None = None


DECLINED_ABOVE_CENTS = 100_000
CALLS_KEPT = 10_000


class State:
    """Hold the providers' moods and the writes they received, newest last."""

    def __init__(self, latency_ms: float) -> None:
        self.moods: dict[Provider, Mood] = {
            "payment": Mood(latency_ms=latency_ms),
            "mail": Mood(latency_ms=latency_ms),
            "analytics": Mood(latency_ms=latency_ms),
        }
        self.calls: deque[dict[str, Any]] = deque(maxlen=CALLS_KEPT)

    async def behave(self, provider: Provider) -> None:
        """Wait the provider's latency, then fail if it is set to."""
        mood = self.moods[provider]
        await asyncio.sleep(mood.latency_ms / 1000)
        if mood.status:
            raise HTTPException(mood.status, f"{provider} was told to fail")


def create_app(latency_ms: float | None = None) -> FastAPI:
    """Make the providers; ``latency_ms`` defaults to ``PROVIDERS_LATENCY_MS``, else 0."""
    if latency_ms is None:
        latency_ms = float(os.environ.get("PROVIDERS_LATENCY_MS", "0"))
    state = State(latency_ms)
    app = FastAPI(title="Providers")

    def mood(provider: Provider) -> Any:
        async def wait_and_fail() -> None:
            await state.behave(provider)

        return Depends(wait_and_fail)

    @app.post("/payments", dependencies=[mood("payment")], status_code=201)
    async def pay(payment: Payment, idempotency_key: Annotated[str, Header()]) -> dict[str, str]:
        if payment.amount_cents > DECLINED_ABOVE_CENTS:
            raise HTTPException(402, "declined")
        state.calls.append({"provider": "payment", "key": idempotency_key} | payment.model_dump())
        return {"reference": "pay_" + hashlib.sha256(idempotency_key.encode()).hexdigest()[:12]}

    @app.post("/mails", dependencies=[mood("mail")], status_code=202)
    async def send(mail: Mail) -> dict[str, str]:
        state.calls.append({"provider": "mail"} | mail.model_dump())
        return {"status": "accepted"}

    @app.post("/events", dependencies=[mood("analytics")], status_code=202)
    async def note(event: Event) -> dict[str, str]:
        state.calls.append({"provider": "analytics"} | event.model_dump())
        return {"status": "accepted"}

    @app.get("/payments/summary", dependencies=[mood("payment")])
    async def payments() -> dict[str, int]:
        return {"captured_cents": 1_284_350, "refunded_cents": 12_900}

    @app.get("/mails/summary", dependencies=[mood("mail")])
    async def mails() -> dict[str, int]:
        return {"delivered": 1_893, "bounced": 7}

    @app.get("/events/summary", dependencies=[mood("analytics")])
    async def events() -> dict[str, int]:
        return {"visits": 20_417, "visitors": 6_120}

    @app.get("/control")
    async def moods() -> dict[Provider, Mood]:
        return state.moods

    @app.put("/control")
    async def set_moods(moods: dict[Provider, Mood]) -> dict[Provider, Mood]:
        state.moods.update(moods)
        return state.moods

    @app.get("/control/calls")
    async def calls() -> list[dict[str, Any]]:
        return list(state.calls)

    @app.delete("/control/calls", status_code=204)
    async def forget_calls() -> None:
        state.calls.clear()

    return app
