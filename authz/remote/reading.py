"""Reads of keys over the admin API: records, lists, histories, usage and credits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from authz.core.admin_ports import AppliedStore
from authz.core.audit import AuditEntry
from authz.core.declared_changes import AsOf
from authz.core.errors import Forbidden, NotFound, Unreadable
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.selector import Selector
from authz.core.usage.question import LatestUse
from authz.flows.selection import Cost, Entry, Page
from authz.remote.calls import Calls
from authz.remote.records import (
    Key,
    denial_of,
    entry_of,
    kid_of,
    optional_ms,
    record_of,
    record_of_kid,
    sight_of,
)
from authz.remote.requests import filter_of
from authz.remote.usage import counts_of
from authz.rpc.admin.values import LATEST_USE, name_of
from authz.rpc.pb.admin.v1 import fleet_pb2, keys_pb2, usage_pb2

PAGE: Final = 1000
AT_ONCE: Final = 16  # calls

_Asked = TypeVar("_Asked")
_Told = TypeVar("_Told")


class RemoteKeys:
    """KeyReader and KeyFinder over the admin API.

    cost: the keys that came, because the server does not say how many it looked at. last_used: the
    time of the latest use of each key of a list, in seconds; without those that were never used.
    """

    def __init__(self, calls: Calls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock
        self.last_used: dict[str, int] = {}

    async def find(self, kid: str) -> KeyRecord | None:
        """Return the record, or None if no key has the kid, or the caller may not see it."""
        try:
            return await read_record(self._calls, kid)
        except NotFound:
            return None

    async def page(self, selector: Selector, limit: int, cursor: str) -> Page:
        """Return at most `limit` keys that follow `cursor`; the first ones if it is empty."""
        request = keys_pb2.ListKeysRequest(
            page_size=limit, page_token=cursor, filter=filter_of(selector)
        )
        response = await self._calls.page(self._calls.client.keys.ListKeys, request)
        cost = Cost()
        entries = self._entries(response, selector, cost)
        return Page(tuple(entries), response.next_page_token or None, cost)

    async def each(self, selector: Selector, cost: Cost) -> AsyncIterator[Entry]:
        """Yield every selected key."""
        request = keys_pb2.ListKeysRequest(page_size=PAGE, filter=filter_of(selector))
        async for response in self._calls.pages(self._calls.client.keys.ListKeys, request):
            for entry in self._entries(response, selector, cost):
                yield entry

    def _entries(
        self, response: keys_pb2.ListKeysResponse, selector: Selector, cost: Cost
    ) -> list[Entry]:
        now = self._clock.wall_ms()
        found: list[Entry] = []
        for key in response.keys:
            entry = _entry(key)
            if entry.record is None or selector.matches(entry.record, now):
                found.append(entry)
                used = optional_ms(key, "last_use_time")
                if used is not None:
                    self.last_used[entry.kid] = used // 1000
        found += [Entry(kid_of(one.name), None, one.reason) for one in response.unreadable]
        cost.scanned += len(response.keys) + len(response.unreadable)
        cost.read += len(response.keys) + len(response.unreadable)
        return found


class RemoteExport:
    """KeyExporter over the admin API."""

    def __init__(self, calls: Calls, clock: Clock, applied: AppliedStore) -> None:
        self._calls = calls
        self._clock = clock
        self._applied = applied

    async def each(self, selector: Selector, cost: Cost) -> AsyncIterator[Entry]:
        """Yield every selected key."""
        request = keys_pb2.ExportKeysRequest(filter=filter_of(selector))
        async for response in self._calls.stream(self._calls.client.keys.ExportKeys, request):
            cost.scanned, cost.read = cost.scanned + 1, cost.read + 1
            if response.HasField("unreadable"):
                yield Entry(kid_of(response.unreadable.name), None, response.unreadable.reason)
                continue
            entry = _entry(response.key)
            if entry.record is None or selector.matches(entry.record, self._clock.wall_ms()):
                yield entry

    async def sequence(self) -> AsOf:
        """Return the number of the last change; 0 for a role within tenants or projects.

        With several partitions those of each.

        With 0 every key is newer than the file, so an apply prunes none.
        """
        request = fleet_pb2.ListSidecarsRequest()
        try:
            response = await self._calls.read(self._calls.client.fleet.ListSidecars, request)
        except Forbidden:
            return 0
        return tuple(response.partition_versions) or int(response.version)

    async def refs(self) -> Mapping[str, str]:
        """Return the refs of keys that files introduced, by kid."""
        return {kid: one.ref for kid, one in (await self._applied.load()).items() if one.ref}


class RemoteTrail:
    """AuditTrail over the admin API: the histories of keys, each read once."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._found: dict[str, dict[int, AuditEntry]] = {}

    async def entry(self, kid: str, version: int) -> AuditEntry | None:
        """Return the entry that made this version of a key, or None if it is missing."""
        if kid not in self._found:
            self._found[kid] = await self._history(kid)
        return self._found[kid].get(version)

    async def _history(self, kid: str) -> dict[int, AuditEntry]:
        request = keys_pb2.ListKeyHistoryRequest(parent=name_of(kid), page_size=PAGE)
        method, found = self._calls.client.keys.ListKeyHistory, dict[int, AuditEntry]()
        async for response in self._calls.pages(method, request):
            found |= {one.version: entry_of(one) for one in response.entries}
        return found


class RemoteUse:
    """UseReader over the admin API. keys: their lists have the times of the latest use."""

    def __init__(self, calls: Calls, keys: RemoteKeys) -> None:
        self._calls = calls
        self._keys = keys

    async def latest_use(self, kid: str) -> LatestUse:
        """Return the latest use of a key and of its secrets, and the counts of 30 days."""
        request = usage_pb2.GetLatestUseRequest(name=f"{name_of(kid)}{LATEST_USE}")
        response = await self._calls.read(self._calls.client.usage.GetLatestUse, request)
        found = response.latest_use
        return LatestUse(
            sight_of(found.latest) if found.HasField("latest") else None,
            {one.secret_id: (sight_of(one.latest), one.requests) for one in found.secrets},
            counts_of(found.last_30_days),
            tuple(map(denial_of, found.denials)),
        )

    async def latest_times(self, kids: Sequence[str]) -> Mapping[str, int]:
        """Return the time of the latest use by kid, in seconds; keys without one are left out."""
        last_used = self._keys.last_used
        return {kid: last_used[kid] for kid in kids if kid in last_used}

    async def requests_of_30_days(self, kids: Sequence[str]) -> Mapping[str, int]:
        """Return the number of requests of the last 30 days by kid."""
        found = await each_of(kids, self.latest_use)
        return {kid: use.last_30_days.requests for kid, use in zip(kids, found, strict=True)}


async def read_record(calls: Calls, kid: str) -> KeyRecord:
    """Return the record of a key. Raises NotFound if no key has the kid, Unreadable, Unavailable.

    NotFound also if the caller may not see it.
    """
    request = keys_pb2.GetKeyRequest(name=name_of(kid))
    response = await calls.read(calls.client.keys.GetKey, request)
    return record_of_kid(response.key, kid)


def _entry(key: Key) -> Entry:
    """Return a key of a list, also one that a newer version made."""
    try:
        return Entry(kid_of(key.name), record_of(key))
    except Unreadable as cause:
        return Entry(kid_of(key.name), None, str(cause))


async def each_of(
    asked: Sequence[_Asked], ask: Callable[[_Asked], Awaitable[_Told]]
) -> list[_Told]:
    """Return the answer to each question, AT_ONCE (16) at a time."""
    told: list[Any] = []
    for start in range(0, len(asked), AT_ONCE):
        told += await asyncio.gather(*map(ask, asked[start : start + AT_ONCE]))
    return told
