"""ClusterLink: a Link to a node of a cluster, which may lose our slot at any time.

Rules:
1. A refusal because of the slot says nothing about a key. So it is an Unavailable to every caller.
2. Such a refusal ends trust in the parser's callback, before any later reply is delivered.
3. If the node no longer owns the slot, the link ends. Else it stays: the slot may come back.
4. SUNSUBSCRIBE is never sent. So a push of that name says that the slot has moved.
"""

from collections.abc import Callable
from typing import Any, Final

import hiredis

from authz.core.errors import Unavailable
from authz.storage.link import Link

GONE: Final = {
    "MOVED": "another node owns the slot (MOVED)",
    "READONLY": "it is a replica (READONLY)",
}
NOT_NOW: Final = {
    "ASK": "the slot is being moved (ASK)",
    "TRYAGAIN": "the slot is being moved (TRYAGAIN)",
    "CLUSTERDOWN": "the cluster is down (CLUSTERDOWN)",
    "LOADING": "it is loading its data (LOADING)",
    "MASTERDOWN": "it is a replica without a primary (MASTERDOWN)",
}
NOT_SERVED: Final = "no node serves the slot (CLUSTERDOWN)"
UNSUBSCRIBED: Final = "another node owns the slot (sunsubscribe)"


class SlotFault(Unavailable):
    """The node does not serve our slot now.

    is_gone: it no longer owns the slot. owner: `host:port` of the new owner, or "".
    """

    def __init__(self, problem: str, *, is_gone: bool, owner: str = "") -> None:
        super().__init__(problem)
        self.is_gone = is_gone
        self.owner = owner


def slot_fault(text: str) -> SlotFault | None:
    """Return the fault that an error reply names, or None if it is not about the slot."""
    code, _, rest = text.partition(" ")
    if code in GONE:
        owner = rest.rpartition(" ")[2] if code == "MOVED" else ""
        return SlotFault(GONE[code], is_gone=True, owner=owner)
    if code == "CLUSTERDOWN" and "not served" in rest:
        return SlotFault(NOT_SERVED, is_gone=True)
    return SlotFault(NOT_NOW[code], is_gone=False) if code in NOT_NOW else None


class ClusterLink(Link):
    """A Link that ends when its node loses the slot.

    on_refused: is called with each other fault of the slot before the command gets it; None: the
    link ends then, too. on_moved: gets the address of the new owner.
    """

    def __init__(
        self,
        on_push: Callable[[list[Any]], None],
        on_lost: Callable[[], None],
        on_refused: Callable[[SlotFault], None] | None,
        on_moved: Callable[[str], None],
    ) -> None:
        super().__init__(on_push, on_lost)
        self._on_refused = on_refused
        self._on_moved = on_moved

    def _deliver(self, message: Any) -> None:
        if isinstance(message, hiredis.ReplyError) and (fault := slot_fault(str(message))):
            self._refuse(fault)
        elif not isinstance(message, hiredis.PushNotification):
            super()._deliver(message)
        elif message[:1] == ["sunsubscribe"]:
            self.abort(UNSUBSCRIBED)
        else:  # the answer to SSUBSCRIBE is a push, too
            super()._deliver(list(message) if message[:1] == ["ssubscribe"] else message)

    def _refuse(self, fault: SlotFault) -> None:
        if fault.owner:
            self._on_moved(fault.owner)
        if self._pending and (fault.is_gone or self._on_refused is None):
            on_reply = self._pending.popleft()
            self.abort(str(fault))
            on_reply(fault)
            return
        if self._on_refused is not None:
            self._on_refused(fault)
        super()._deliver(fault)
