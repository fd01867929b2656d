"""Composition root of the commands that find, show and change keys.

Most of them need few parts. Each part is made, and its modules are imported, when a command first
asks for it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.wiring.administration import keyring, limit_policy, our_parts
from authz.wiring.session import BulkSession
from authz.wiring.store_parts import StoreParts

if TYPE_CHECKING:
    from authz.flows.command_ports import CreditReader, ManyKeysEditor
    from authz.flows.due_keys import DueKeys
    from authz.flows.key_history import KeyHistory
    from authz.flows.limits.limit_report import LimitReports
    from authz.flows.selection import Selection
    from authz.flows.usage.command_ports import UseReader
    from authz.flows.usage.last_use import LastUse
    from authz.flows.waiting_deliveries import WaitingDeliveries


class StoreSession:
    """A BulkSession over the store."""

    def __init__(self, settings: Settings, parts: StoreParts) -> None:
        self.keys = parts.keys
        self._settings = settings
        self._parts = parts
        self._clock = SystemClock()

    @cached_property
    def finder(self) -> "Selection":
        """The selection of keys. It reads usage only if a selector asks for it."""
        from authz.flows.selection import Selection  # noqa: PLC0415

        return Selection(self._parts.index, self._clock, self._last_use)

    def _last_use(self) -> "LastUse":
        from authz.wiring.usage_readers import last_use  # noqa: PLC0415

        return last_use(self._parts)

    @cached_property
    def many(self) -> "ManyKeysEditor":
        """The editor of many keys."""
        from authz.flows.bulk_change import BulkChange  # noqa: PLC0415
        from authz.flows.many_editing import StoreManyKeys  # noqa: PLC0415

        parts = self._parts
        bulk = BulkChange(self.finder, self.keys, parts.batches, self._clock, parts.partitions)
        return StoreManyKeys(bulk, parts.deletion, parts.wait)

    @cached_property
    def history(self) -> "KeyHistory":
        """The changes of keys, from the audit trail."""
        from authz.flows.key_history import KeyHistory  # noqa: PLC0415

        return KeyHistory(self._parts.history)

    @cached_property
    def due(self) -> "DueKeys":
        """The finder of keys that are due by the policies of the settings."""
        from authz.flows.due_keys import DueKeys  # noqa: PLC0415

        return DueKeys(self.finder, self._settings.rotation.policies(), self._clock)

    @cached_property
    def deliveries(self) -> "WaitingDeliveries":
        """The finder of new secrets that have not arrived."""
        from authz.flows.waiting_deliveries import WaitingDeliveries  # noqa: PLC0415

        parts = self._parts
        return WaitingDeliveries(parts.pending_deliveries, parts.index, self._clock)

    @cached_property
    def usage(self) -> "UseReader":
        """The latest use of keys, and their requests, from the counts of the meter."""
        return self._parts.uses

    @cached_property
    def credits(self) -> "CreditReader":
        """The credits of keys."""
        from authz.flows.limits.credit_report import CreditReports  # noqa: PLC0415

        return CreditReports(self._parts.credits, limit_policy(self._settings))

    @cached_property
    def limits(self) -> "LimitReports":
        """The use of limits."""
        from authz.flows.limits.limit_report import LimitReports  # noqa: PLC0415

        counters, policy = self._parts.counters, limit_policy(self._settings)
        return LimitReports(counters, policy, self._clock)


@asynccontextmanager
async def bulk_session(settings: Settings, *, reads: bool = False) -> AsyncIterator[BulkSession]:
    """Yield a BulkSession over the store, and close its client at the end.

    reads: nothing is changed, so an answer that a move may have made incomplete is refused. Raises
    the errors of `administration`.
    """
    async with our_parts(settings, keyring(settings), reads=reads) as parts:
        yield StoreSession(settings, parts)
