"""Composition root of the commands that read keys.

Most of them need few parts. Each part is made by a method of its own, which imports its modules.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from authz.core.errors import NotFound
from authz.core.records import KeyRecord
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.endpoint import Client
from authz.storage.keys import StoredKeys
from authz.wiring.administration import keyring, limit_policy, our_store

if TYPE_CHECKING:
    from authz.core.admin_ports import ImportStore
    from authz.core.selector import Selector
    from authz.flows.key_history import KeyHistory
    from authz.flows.limits.credit_report import CreditReports
    from authz.flows.limits.limit_report import LimitReports
    from authz.flows.selection import Selection
    from authz.flows.usage.reading import UsageReading


class ReadingSession:
    """The parts for one command, over one client of the store."""

    def __init__(self, settings: Settings, client: Client, keys: StoredKeys) -> None:
        self._settings = settings
        self._client = client
        self._keys = keys

    async def record(self, kid: str) -> KeyRecord:
        """Return the record of a key.

        Raises NotFound if no key has the kid, Unreadable if the record cannot be read, Unavailable.
        """
        record = await self._keys.find(kid)
        if record is None:
            raise NotFound(f"no key has the kid {kid}")
        return record

    def selection(self, selector: "Selector") -> "Selection":
        """Return a Selection for this selector. It reads usage only if the selector asks for it."""
        from authz.flows.selection import Selection  # noqa: PLC0415
        from authz.storage.listing import StoredIndex  # noqa: PLC0415

        index, clock = StoredIndex(self._client), SystemClock()
        if selector.unused_since is None:
            return Selection(index, clock)
        from authz.wiring.usage_readers import last_use  # noqa: PLC0415

        return Selection(index, clock, last_use(self._client))

    def history(self) -> "KeyHistory":
        """Return the changes of keys, from the audit trail."""
        from authz.flows.key_history import KeyHistory  # noqa: PLC0415
        from authz.storage.listing import StoredTrail  # noqa: PLC0415

        return KeyHistory(StoredTrail(self._client))

    def usage(self) -> "UsageReading":
        """Return the counts of usage."""
        from authz.wiring.usage_readers import usage_reading  # noqa: PLC0415

        return usage_reading(self._client)

    def credits(self) -> "CreditReports":
        """Return the credits of keys."""
        from authz.flows.limits.credit_report import CreditReports  # noqa: PLC0415
        from authz.storage.limits.stored_counters import StoredCredits  # noqa: PLC0415

        return CreditReports(StoredCredits(self._client), limit_policy(self._settings))

    def limit_reports(self) -> "LimitReports":
        """Return the use of limits."""
        from authz.flows.limits.limit_report import LimitReports  # noqa: PLC0415
        from authz.storage.limits.stored_counters import StoredCounters  # noqa: PLC0415

        counters = StoredCounters(self._client)
        return LimitReports(counters, limit_policy(self._settings), SystemClock())

    async def imports(self) -> "ImportStore | None":
        """Return the imported keys, or None if no key was ever imported. Raises Unavailable."""
        from authz.storage.imports import StoredImports  # noqa: PLC0415

        return StoredImports(self._client) if await self._keys.has_imports() else None


@asynccontextmanager
async def reading_session(settings: Settings) -> AsyncIterator[ReadingSession]:
    """Yield a ReadingSession, and close its client at the end.

    Raises the errors of `administration`.
    """
    async with our_store(settings, keyring(settings)) as (client, keys):
        yield ReadingSession(settings, client, keys)
