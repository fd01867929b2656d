"""BulkRevocation: all keys of a client revoked, whatever becomes of any one of them."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from authz.core.changes import Author, Refused, Unchanged
from authz.core.errors import Fault, NotFound, Unreadable
from authz.core.records import RevocationReason, Status
from authz.flows.key_listing import KeyListing
from authz.flows.lifecycle import Lifecycle

MAX_FAILURES: Final = 5  # in a row that are not the key's own: then the store is gone


class BulkRevocation:
    """What is to be revoked, and what came of it so far.

    planned, revoked: kids. failed: kid -> why not. tried: how many of the planned.
    already: how many were revoked by others.
    """

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.planned: list[str] = []
        self.revoked: list[str] = []
        self.already = 0
        self.failed: dict[str, str] = {}
        self.tried = 0
        self._seen: set[str] = set()

    async def plan(self, directory: KeyListing) -> None:
        """Look for keys not seen yet. One that cannot be read is tried, too. Raises Unavailable."""
        async for entry in directory.keys_of(self.client_id):
            if entry.kid in self._seen:
                continue
            self._seen.add(entry.kid)
            if entry.record is not None and entry.record.status is Status.REVOKED:
                self.already += 1
            else:
                self.planned.append(entry.kid)

    async def carry_out(
        self,
        directory: KeyListing,
        lifecycle: Lifecycle,
        reason: RevocationReason,
        author: Callable[[], Author],
    ) -> AsyncIterator[str]:
        """Revoke what is planned, and what was issued meanwhile; gives each kid that was tried.

        Raises Unavailable when the store fails for one key after the other.
        """
        in_a_row = 0
        for kid in self.planned:  # grows
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
                    case Unchanged():  # somebody else was faster
                        self.already += 1
                    case _:
                        self.revoked.append(kid)
            self.tried += 1
            yield kid
            if self.tried == len(self.planned):
                await self.plan(directory)
