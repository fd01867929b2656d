"""Changes of the entry of a delivery in the store. They compare it with the text that was read."""

from dataclasses import replace

from authz.core.begun_delivery import BegunDelivery
from authz.core.errors import Unreadable
from authz.flows.delivery_ports import PendingDeliveries


async def change_entry(
    pending: PendingDeliveries, kid: str, entry: BegunDelivery
) -> BegunDelivery | None:
    """Store a changed entry, and return it; None if another process has changed it before.

    Raises Unavailable if the store fails.
    """
    text = entry.text()
    if await pending.compare_and_set(kid, entry.stored, text):
        return replace(entry, stored=text)
    return None


async def newest_leaked(pending: PendingDeliveries, kid: str) -> int:
    """Return the number of the newest secret that a pending delivery ends because it is leaked.

    0: none does. Raises Unavailable if the store fails.
    """
    text = (await pending.all()).get(kid)
    try:
        entry = BegunDelivery.read(text or "")
    except Unreadable:
        return 0
    return entry.newest if entry.is_leaked else 0


async def forget(pending: PendingDeliveries, kid: str, entry: BegunDelivery) -> None:
    """Remove an entry, unless another process has changed it. Raises Unavailable."""
    await pending.compare_and_set(kid, entry.stored, None)
