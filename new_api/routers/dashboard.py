"""Show the shop's figures."""

import asyncio

from fastapi import APIRouter

from new_api.providers import ProvidersClient
from new_api.schemas import Figures

router = APIRouter(tags=["dashboard"])


@router.get("/dashboard")
async def show(providers: ProvidersClient) -> Figures:
    """Ask the three providers at once: the client waits for the slowest only, not for the sum."""
    async with asyncio.TaskGroup() as group:
        payments = group.create_task(providers.summary("payments"))
        mails = group.create_task(providers.summary("mails"))
        events = group.create_task(providers.summary("events"))
    return Figures(payments=payments.result(), mails=mails.result(), events=events.result())
