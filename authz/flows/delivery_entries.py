"""Changes of the entry of a delivery in the store. They compare it with the text that was read."""

from dataclasses import replace

from authz.core.begun_delivery import BegunDelivery
from authz.flows.delivery_ports import PendingDeliveries


async def change_entry(
    pending: PendingDeliveries, kid: str, entry: BegunDelivery
) -> BegunDelivery | None:
    """Store a changed entry, and return it; None if another process has changed it before.

    Raises Unavailable if the store fails.
    """
    text = entry.text()
    if text == entry.stored or await pending.compare_and_set(kid, entry.stored, text):
        return replace(entry, stored=text)
    return None


async def forget(pending: PendingDeliveries, kid: str, entry: BegunDelivery) -> None:
    """Remove an entry, unless another process has changed it. Raises Unavailable."""
    await pending.compare_and_set(kid, entry.stored, None)
