"""Call the payment, mail and analytics providers, one blocking call at a time."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from flask import Flask, current_app

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Payment:
    """Tell how a payment went; ``reference`` is None unless it is paid."""

    status: Literal["paid", "declined", "failed"]
    reference: str | None = None


class ProviderError(RuntimeError):
    """Report that a provider did not answer, or not as it should; ``status`` is 0 for no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def init_app(app: Flask) -> None:
    """Make the app's HTTP client, shared by its threads."""
    app.extensions["providers"] = httpx.Client(base_url=app.config["PROVIDERS_URL"], timeout=10)


def call(method: str, path: str, **request: Any) -> Any:
    """Return the JSON that a provider answers."""
    client: httpx.Client = current_app.extensions["providers"]
    try:
        response = client.request(method, path, **request)
    except httpx.HTTPError as error:
        raise ProviderError(f"{path}: {error}") from error
    if response.is_error:
        raise ProviderError(f"{path}: status {response.status_code}", response.status_code)
    return response.json()


def pay(order_id: int, amount_cents: int) -> Payment:
    """Take the money for an order, once however often it is asked."""
    key = {"Idempotency-Key": f"order-{order_id}"}
    try:
        answer = call("POST", "/payments", json={"amount_cents": amount_cents}, headers=key)
    except ProviderError as error:
        if error.status == 402:
            return Payment("declined")
        log.warning("order %s was not paid: %s", order_id, error)
        return Payment("failed")
    return Payment("paid", answer["reference"])


def send_mail(recipient: str, subject: str) -> bool:
    """Send a mail; return False, with a line in the log, when it could not be sent."""
    try:
        call("POST", "/mails", json={"recipient": recipient, "subject": subject})
    except ProviderError as error:
        log.warning("mail %r was not sent: %s", subject, error)
        return False
    return True


def note_event(name: str, order_id: int) -> None:
    """Tell analytics; the shop goes on without it."""
    try:
        call("POST", "/events", json={"name": name, "order_id": order_id})
    except ProviderError as error:
        log.warning("event %s was not noted: %s", name, error)


def summary(name: str) -> Any:
    """Return a provider's figures, or None when it fails."""
    try:
        return call("GET", f"/{name}/summary")
    except ProviderError as error:
        log.warning("no figures from %s: %s", name, error)
        return None
