"""The new secret of a key that has not arrived at its target, as the pages tell it."""

from authz.console.pages.api_client import Answer
from authz.console.pages.visit import Visit


async def pending_delivery(visit: Visit) -> Answer:
    """Return the answer about the key of the page: a list of one delivery, or an empty one."""
    return await visit.api.get("/v1/pendingDeliveries", [("key", f"keys/{visit.kid}")])
