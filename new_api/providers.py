"""Call the payment, mail and analytics providers without holding anything up."""

import logging
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import httpx
from fastapi import Depends, Request

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Payment:
    """Tell how a payment went; ``reference`` is None unless it is paid."""

    status: Literal["paid", "declined", "failed"]
    reference: str | None = None


class Providers:
    """Speak to the providers at ``client``'s base URL. No failure of theirs escapes as an exception."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def pay(self, order_id: int, amount_cents: int) -> Payment:
        """Take the money for an order, once however often it is asked."""
        try:
            response = await self._client.post(
                "/payments",
                json={"amount_cents": amount_cents},
                headers={"Idempotency-Key": f"order-{order_id}"},
            )
            if response.status_code == httpx.codes.PAYMENT_REQUIRED:
                return Payment("declined")
            return Payment("paid", response.raise_for_status().json()["reference"])
        except httpx.HTTPError as error:
            log.warning("order %s was not paid: %s", order_id, error)
            return Payment("failed")

    async def send_mail(self, recipient: str, subject: str) -> bool:
        """Send a mail; return False when it could not be sent."""
        return await self._tell("/mails", {"recipient": recipient, "subject": subject})

    async def note_event(self, name: str, order_id: int) -> bool:
        """Tell analytics; return False when it could not be told."""
        return await self._tell("/events", {"name": name, "order_id": order_id})

    async def summary(self, name: str) -> dict[str, int] | None:
        """Return a provider's figures, or None when it fails."""
        try:
            response = await self._client.get(f"/{name}/summary")
            figures: dict[str, int] = response.raise_for_status().json()
        except httpx.HTTPError as error:
            log.warning("no figures from %s: %s", name, error)
            return None
        return figures

    async def _tell(self, path: str, message: dict[str, Any]) -> bool:
        try:
            (await self._client.post(path, json=message)).raise_for_status()
        except httpx.HTTPError as error:
            log.warning("%s did not take %s: %s", path, message, error)
            return False
        return True


def get_providers(request: Request) -> Providers:
    """Return the app's providers."""
    providers: Providers = request.app.state.providers
    return providers


ProvidersClient = Annotated[Providers, Depends(get_providers)]
