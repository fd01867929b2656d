"""OwnerWatch: finds the new owner of our slot while the node of a link cannot be trusted.

A node that is cut off from its cluster stays as it was: it keeps our link open, says that it is a
primary, and refuses commands or waits for its replicas. So the other nodes are asked meanwhile.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from authz.storage.crowd import Crowd
from authz.storage.endpoint import Endpoint
from authz.storage.link import Link

LOOK_SECONDS: Final = 0.5
ANOTHER: Final = "other nodes of the cluster name another owner of the slot"


async def watch_owner(
    link: Link, where: Endpoint, crowd: Crowd, is_doubtful: Callable[[], bool]
) -> None:
    """End the link when two nodes name another owner of the slot; return when it has ended.

    is_doubtful: whether the node refuses commands, or no replica follows it. Only then the nodes
    are asked, every LOOK_SECONDS (0.5 s). crowd: adds a pause to each, because many sidecars lose
    their trust at the same moment.
    """
    while link.is_open:
        await asyncio.sleep(LOOK_SECONDS + crowd.reconnect_pause())
        if is_doubtful() and await where.is_owned_elsewhere(link):
            link.abort(ANOTHER)
