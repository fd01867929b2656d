"""Ports of the commands: the flows that they need, over the store or over the admin API.

MUST marks an obligation of the implementation. A command relies on it and cannot check it.
"""

from __future__ import annotations  # the types are for readers and checkers alone

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from authz.core.changes import Outcome
    from authz.core.declared_changes import AsOf, Planned
    from authz.core.deletion import Removal
    from authz.core.delivery import SecretDelivery
    from authz.core.edits import Edit
    from authz.core.new_keys import KeySpec
    from authz.core.records import KeyRecord
    from authz.core.selector import Selector
    from authz.core.sidecars import Confirmation, Heard
    from authz.flows.bulk_change import Failed, Step
    from authz.flows.by import By as Authorship
    from authz.flows.confirmation import Extent
    from authz.flows.importing import Outcome as ImportOutcome
    from authz.flows.importing import Wanted as WantedKey
    from authz.flows.lifecycle import Changed, Result
    from authz.flows.limits.credit_report import Credits
    from authz.flows.limits.limit_report import LimitView
    from authz.flows.selection import Cost, Entry, Page
    from authz.flows.trail.listing import Events, Wanted


@dataclass(frozen=True, slots=True)
class Effect:
    """The result of a change, and the confirmation of the sidecars if it was waited for.

    problem: why the wait failed, else empty. The change itself was made. delivery: of a rotation
    that delivers the new secret, its result.
    """

    result: Result
    confirmation: Confirmation | None = None
    problem: str = ""
    delivery: SecretDelivery | None = None


class KeyEditor(Protocol):
    """Makes and changes one key. Methods raise Unavailable, and OutcomeUnknown as Lifecycle."""

    async def issue(self, spec: KeySpec, by: Authorship) -> Changed:
        """Issue a key, and return its record and its text.

        Raises BadInput if the key would expire before it begins.
        """
        ...

    async def change(
        self, kid: str, edit: Edit, by: Authorship, wait_seconds: float | None = None
    ) -> Effect:
        """Make a change and wait at most `wait_seconds` for the sidecars; None: do not wait.

        A failure of the wait MUST NOT hide the change. Raises NotFound if no key has the kid.
        """
        ...


class ManyKeysEditor(Protocol):
    """Makes one change to many keys. A key that fails stops no other. Methods raise Unavailable."""

    def rehearse(
        self, kids: Sequence[str], edit: Edit, by: Authorship, selector: Selector
    ) -> AsyncIterator[tuple[str, Outcome | Removal | Failed]]:
        """Yield for each key the change that `carry_out` would make. Changes nothing.

        kids: keys that `selector` has found.
        """
        ...

    def carry_out(
        self,
        kids: Sequence[str],
        edit: Edit,
        by: Authorship,
        *,
        selector: Selector,
        extent: Extent,
        wait_seconds: float | None,
    ) -> AsyncIterator[Sequence[Step]]:
        """Change the keys and yield their outcomes, some at a time.

        selector: a key that no longer fits it is skipped. extent: each change that is made is added
        to it. wait_seconds: the time for the sidecars, as given to `confirmation` afterwards; an
        implementation may wait for them here already. None: `confirmation` is not called.
        """
        ...

    async def confirmation(self, extent: Extent, wait_seconds: float) -> Confirmation:
        """Wait at most `wait_seconds` for the sidecars to have all changes of `carry_out`.

        Return the confirmation, complete or not.
        """
        ...


class KeyReader(Protocol):
    """Reads one record."""

    async def find(self, kid: str) -> KeyRecord | None:
        """Return the record, or None if no key has the kid.

        Raises Unreadable if the record cannot be read, Unavailable.
        """
        ...


class KeyFinder(Protocol):
    """Finds the keys that a selector picks, oldest first. Methods raise Unavailable."""

    async def page(self, selector: Selector, limit: int, cursor: str) -> Page:
        """Return at most `limit` keys that follow `cursor`; the first ones if it is empty."""
        ...

    def each(self, selector: Selector, cost: Cost) -> AsyncIterator[Entry]:
        """Yield every selected key. cost: is added to while it goes on."""
        ...


class SecretSink(Protocol):
    """Takes the secrets of new keys. Methods raise Unavailable if the place of secrets fails."""

    def prepare(self, kid: str, text: str) -> None:
        """Write the secret, before the store has the key if the secret is known before."""
        ...

    def keep(self, kid: str) -> None:
        """Keep the secret: the key is in the store."""
        ...

    def discard(self, kid: str) -> None:
        """Remove the secret: the key was not made."""
        ...


class DeclaredKeys(Protocol):
    """Reads and changes the keys of a file. Methods raise Unavailable, and OutcomeUnknown."""

    async def read(self, kids: Sequence[str]) -> Sequence[Entry]:
        """Return an entry for each kid, in order. One without a readable record has the reason."""
        ...

    async def issue(self, spec: KeySpec, sink: SecretSink, by: Authorship) -> KeyRecord:
        """Issue a key, hand its secret to `sink`, and return its record.

        Raises BadInput if the key is refused; then `sink` has no secret of it.
        """
        ...

    def carry_out(
        self, kids: Sequence[str], plan: Callable[[KeyRecord], Planned], by: Authorship
    ) -> AsyncIterator[Sequence[Step]]:
        """Change the keys as `plan` says, and yield the outcomes, some at a time.

        An edit MUST be made on the very record that it was planned on, else planned again.
        """
        ...


class ReadyBatch(Protocol):
    """Keys to import that are ready to be sent."""

    async def put(self) -> list[ImportOutcome]:
        """Import the batch and return one outcome for each key, in order.

        Raises Unavailable, OutcomeUnknown. Repeating the call is then safe.
        """
        ...

    async def rehearse(self) -> list[ImportOutcome]:
        """Return the outcomes that `put` would return. Writes nothing. Raises Unavailable."""
        ...


class KeyImporter(Protocol):
    """Imports keys of other systems. A repeated import leaves keys that exist as they are."""

    def ready(self, batch: Sequence[WantedKey]) -> ReadyBatch:
        """Return a batch, ready to be sent. It may be made while the one before is under way."""
        ...


class TrailReader(Protocol):
    """Lists the events of the audit trail."""

    async def find(self, wanted: Wanted, limit: int) -> Events:
        """Return the newest events that fit, at most `limit`. Raises Unavailable."""
        ...


class SidecarFinder(Protocol):
    """Lists the sidecars."""

    async def find(self) -> tuple[int, list[Heard]]:
        """Return the number of the last change, and the sidecars. Raises Unavailable."""
        ...


class KeyExporter(Protocol):
    """Reads keys for a file. Methods raise Unavailable."""

    def each(self, selector: Selector, cost: Cost) -> AsyncIterator[Entry]:
        """Yield every selected key."""
        ...

    async def sequence(self) -> AsOf:
        """Return the number of the last change, of each partition if there are several."""
        ...

    async def refs(self) -> Mapping[str, str]:
        """Return the refs of keys that files introduced, by kid; empty where they are unknown."""
        ...


class LimitReader(Protocol):
    """Reads the use of limits."""

    async def view(self, record: KeyRecord) -> LimitView | None:
        """Return the use of the limits of a key, or None if neither it nor its pools have limits.

        Raises UnknownPlan if the settings lack the plan of the key, Unreadable, Unavailable.
        """
        ...


class CreditReader(Protocol):
    """Reads credits."""

    async def of(self, records: Sequence[KeyRecord]) -> list[Credits | None]:
        """Return the credits of each key; None if it has none. Raises Unreadable, Unavailable."""
        ...
