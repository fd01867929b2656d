"""BulkRevocation: revokes all keys of a client. A key that fails does not stop the others."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from authz.core.changes import Author, Refused, Unchanged
from authz.core.errors import Fault, NotFound, Unreadable
from authz.core.records import RevocationReason, Status
from authz.core.selector import Selector
from authz.flows.lifecycle import Lifecycle
from authz.flows.selection import Selection

MAX_FAILURES: Final = 5  # in a row that concern the store, not a key: then it is down


class BulkRevocation:
    """The keys to revoke and the results so far.

    planned, revoked: kids. failed: kid -> reason. tried: how many planned kids were tried.
    already: how many keys others had revoked.
    """

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.planned: list[str] = []
        self.revoked: list[str] = []
        self.already = 0
        self.failed: dict[str, str] = {}
        self.tried = 0
        self._seen: set[str] = set()

    async def plan(self, selection: Selection) -> None:
        """Plan the client's keys that were not seen yet, unreadable ones too.

        Revoked keys are added to `already` instead. Raises Unavailable if the store fails.
        """
        async for entry in selection.each(Selector(client_id=self.client_id)):
            if entry.kid in self._seen:
                continue
            self._seen.add(entry.kid)
            if entry.record is not None and entry.record.status is Status.REVOKED:
                self.already += 1
            else:
                self.planned.append(entry.kid)

    async def carry_out(
        self,
        selection: Selection,
        lifecycle: Lifecycle,
        reason: RevocationReason,
        author: Callable[[], Author],
    ) -> AsyncIterator[str]:
        """Revoke the planned keys and those issued meanwhile. Yield each kid that was tried.

        Updates `revoked`, `already`, `failed` and `tried`. `author` is called for each key. Raises
        Unavailable if the store fails for MAX_FAILURES (5) keys in a row, or while the keys are
        listed again.
        """
        in_a_row = 0
        for kid in self.planned:  # the list grows meanwhile
            try:
                result = await lifecycle.revoke(kid, reason, author())
            except Fault as cause:
                self.failed[kid] = str(cause)
                in_a_row += not isinstance(cause, Unreadable | NotFound)
                if in_a_row == MAX_FAILURES:
                    raise
            else:
                in_a_row = 0
                match result:
                    case Refused(why):
                        self.failed[kid] = why
                    case Unchanged():  # another revocation was faster
                        self.already += 1
                    case _:
                        self.revoked.append(kid)
            self.tried += 1
            yield kid
            if self.tried == len(self.planned):
                await self.plan(selection)
