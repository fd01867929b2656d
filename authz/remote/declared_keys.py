"""The keys of a file over the admin API: their records, their changes, and the last apply."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from authz.core.changes import Refused, Unchanged
from authz.core.declared_changes import Planned
from authz.core.errors import BadInput, Conflict, Forbidden, NotFound, Unreadable
from authz.core.merging import Applied
from authz.core.new_keys import KeySpec
from authz.core.records import KeyRecord
from authz.core.selector import Selector
from authz.flows.bulk_change import BUSY, Failed, Step
from authz.flows.by import By
from authz.flows.command_ports import KeyExporter, SecretSink
from authz.flows.lifecycle import MAX_CONFLICTS
from authz.flows.selection import Cost, Entry
from authz.remote.calls import Calls
from authz.remote.editor import RemoteEditor
from authz.remote.reading import AT_ONCE, each_of, read_record
from authz.remote.records import kid_of
from authz.rpc.admin.applied_keys import MAX_KEYS, applied_message
from authz.rpc.admin.values import members_of
from authz.rpc.pb.admin.v1 import applied_key_pb2

MANY: Final = 100  # keys; more are read by one export


class RemoteDeclaredKeys:
    """DeclaredKeys over the admin API. A change has the etag of the record it was planned on."""

    def __init__(self, calls: Calls, editor: RemoteEditor, exporter: KeyExporter) -> None:
        self._calls = calls
        self._editor = editor
        self._exporter = exporter

    async def read(self, kids: Sequence[str]) -> list[Entry]:
        """Return an entry for each kid, in order; those of more than MANY (100) by one export."""
        if len(kids) <= MANY:
            return await each_of(kids, self._entry)
        wanted, found = frozenset(kids), dict[str, Entry]()
        async for entry in self._exporter.each(Selector(), Cost()):
            if entry.kid in wanted:
                found[entry.kid] = entry
        return [found.get(kid) or _absent(kid) for kid in kids]

    async def issue(self, spec: KeySpec, sink: SecretSink, by: By) -> KeyRecord:
        """Issue a key and return its record. The server makes the secret, so `sink` gets it last.

        A repeated call of the channel has the same request id, so there is one key.
        """
        made = await self._editor.issue(spec, by)
        sink.prepare(made.record.kid, made.key_text or "")
        sink.keep(made.record.kid)
        return made.record

    async def carry_out(
        self, kids: Sequence[str], plan: Callable[[KeyRecord], Planned], by: By
    ) -> AsyncIterator[Sequence[Step]]:
        """Change the keys and yield the outcomes, AT_ONCE (16) at a time."""
        change = partial(self._change, plan=plan, by=by)
        for start in range(0, len(kids), AT_ONCE):
            yield await asyncio.gather(*map(change, kids[start : start + AT_ONCE]))

    async def _change(self, kid: str, plan: Callable[[KeyRecord], Planned], by: By) -> Step:
        for _ in range(MAX_CONFLICTS):
            try:
                record = await read_record(self._calls, kid)
                planned = plan(record)
                if isinstance(planned, Refused | Unchanged):
                    return Step(kid, planned)
                return Step(kid, await self._editor.change_exactly(record, planned, by))
            except Conflict:
                continue
            except (BadInput, Forbidden, NotFound, Unreadable) as cause:
                return Step(kid, Failed(str(cause)))
        return Step(kid, Failed(BUSY))

    async def _entry(self, kid: str) -> Entry:
        try:
            return Entry(kid, await read_record(self._calls, kid))
        except NotFound:
            return _absent(kid)
        except Unreadable as cause:
            return Entry(kid, None, str(cause))


class RemoteApplied:
    """AppliedStore over the admin API, for the keys that the caller may see."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def load(self) -> dict[str, Applied]:
        """Return the fields of all keys that were saved, by kid."""
        found: dict[str, Applied] = {}
        method, request = (
            self._calls.client.keys.ExportAppliedKeys,
            applied_key_pb2.ExportAppliedKeysRequest(),
        )
        async for response in self._calls.stream(method, request):
            one = response.applied_key
            try:
                members = members_of(one.fields)
            except ValueError:
                raise Unreadable("the admin API sent applied fields with a wrong value") from None
            found[kid_of(one.name)] = Applied(one.version, members, one.ref)
        return found

    async def save(self, found: Mapping[str, Applied]) -> None:
        """Store the fields of these keys, 500 in one call; others stay."""
        messages = [applied_message(kid, one) for kid, one in found.items()]
        for start in range(0, len(messages), MAX_KEYS):
            request = applied_key_pb2.SaveAppliedKeysRequest(
                applied_keys=messages[start : start + MAX_KEYS]
            )
            await self._calls.change(self._calls.client.keys.SaveAppliedKeys, request)


def _absent(kid: str) -> Entry:
    return Entry(kid, None, f"record {kid}: is not there")
