"""The Fleet service."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from authz.core.access import Caller, visible
from authz.core.audit import LoggedChange
from authz.core.errors import BadInput
from authz.core.records import KeyRecord
from authz.core.roles import Action
from authz.core.sidecars import Heard
from authz.flows.admin_flows import AdminFlows
from authz.flows.partitioned.asking import ask_all
from authz.rpc.admin.api_error import ApiError, Code
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.changing import Changing
from authz.rpc.admin.values import duration, name_of, note_of, timestamp
from authz.rpc.pb.admin.v1 import fleet_pb2

PAGE: Final = 500  # changes read in one call
PAUSE: Final = 0.25  # seconds between two reads of the log
SIGN_OF_LIFE: Final = 10.0  # seconds


class FleetService:
    """The methods of authz.admin.v1.Fleet."""

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows
        self._changing = Changing(flows)

    async def list_sidecars(
        self, _request: fleet_pb2.ListSidecarsRequest, _context: CallContext
    ) -> fleet_pb2.ListSidecarsResponse:
        """Return the sidecars that may still serve keys, and the number of the last change.

        Sidecars that are silent for longer than their lease and grace are left out. With several
        partitions `version` is 0, and `partition_versions` has the number of each. An earlier
        client prunes keys up to `version`: a sum would be above the numbers of newer keys.
        """
        version, heard = await self._flows.registry.find()
        alive = [each for each in heard if each.silent_ms < each.reach_ms()]
        response = fleet_pb2.ListSidecarsResponse(
            sidecars=[_sidecar(each, version) for each in alive]
        )
        if len(self._flows.trails) > 1:
            numbers = [(await rows.heads())[0] for rows, _ in self._flows.trails]
            response.partition_versions.extend(numbers)
        else:
            response.version = version
        return response

    async def watch_changes(
        self, request: fleet_pb2.WatchChangesRequest, context: CallContext
    ) -> AsyncIterator[fleet_pb2.WatchChangesResponse]:
        """Yield the changes of keys that the caller may see, until the call is cancelled.

        It begins after the versions of the request, without any with the next change. After 10 s
        without a change it yields a response with the versions alone. Raises BadInput for a wrong
        version, ApiError OUT_OF_RANGE if a log no longer holds every change, and Unavailable.
        """
        clock, versions = self._flows.clock, await self._begin(request)
        sent_at = clock.monotonic()
        while True:
            is_behind = False
            for at, changes in enumerate(await self._changes(versions)):
                for change in await self._visible(context.caller, changes):
                    versions[at] = change.version
                    yield _change(change, versions)
                    sent_at = clock.monotonic()
                versions[at] = changes[-1].version if changes else versions[at]
                is_behind |= len(changes) == PAGE
            if clock.monotonic() - sent_at >= SIGN_OF_LIFE:
                yield _sign_of_life(versions)
                sent_at = clock.monotonic()
            if not is_behind:
                await asyncio.sleep(PAUSE)

    async def _begin(self, request: fleet_pb2.WatchChangesRequest) -> list[int]:
        """Return for each partition the version to begin after. Raises BadInput, Unavailable."""
        logs, given = self._flows.change_logs, list(request.after_partition_versions)
        if len(logs) == 1:
            if given:
                raise BadInput("after_partition_versions", "the store has one partition")
            if not request.HasField("after_version"):
                return [await logs[0].last()]
            if request.after_version < 0:
                raise BadInput("after_version", "a version, or 0 for the beginning of the log")
            return [request.after_version]
        if request.HasField("after_version"):
            problem = "the store has several partitions: give after_partition_versions"
            raise BadInput("after_version", problem)
        if not given:
            return await ask_all([log.last() for log in logs])
        if len(given) != len(logs) or min(given) < 0:
            raise BadInput("after_partition_versions", f"{len(logs)} versions, or 0 for each")
        return given

    async def _changes(self, versions: Sequence[int]) -> list[Sequence[LoggedChange]]:
        """Return the changes after these versions, at most PAGE of each partition.

        Raises ApiError OUT_OF_RANGE if a log no longer holds every change, and Unavailable.
        """
        reads = [
            one.after(version, PAGE)
            for one, version in zip(self._flows.change_logs, versions, strict=True)
        ]
        found = [await reads[0]] if len(reads) == 1 else await ask_all(reads)
        changes = [one for one in found if one is not None]
        if len(changes) < len(found):
            at = found.index(None)
            where = f"partition {at}: " if len(found) > 1 else ""
            message = f"{where}the log no longer holds every change after {versions[at]}"
            raise ApiError(Code.OUT_OF_RANGE, "CHANGES_MISSED", message)
        return changes

    async def list_blocked_clients(
        self, _request: fleet_pb2.ListBlockedClientsRequest, _context: CallContext
    ) -> fleet_pb2.ListBlockedClientsResponse:
        """Return the clients that are blocked now, and the allowed networks."""
        found = await self._flows.abuse.read()
        return fleet_pb2.ListBlockedClientsResponse(
            clients=[
                fleet_pb2.BlockedClient(client=client, end_time=timestamp(until))
                for client, until in sorted(found.blocked.items())
            ],
            allowed_networks=[
                fleet_pb2.AllowedNetwork(network=network, author=author)
                for network, author in sorted(found.allowed.items())
            ],
        )

    async def clear_blocked_clients(
        self, request: fleet_pb2.ClearBlockedClientsRequest, context: CallContext
    ) -> fleet_pb2.ClearBlockedClientsResponse:
        """End the blocks of some clients; without any, of all.

        With `validate_only`, only count them. Raises BadInput for a wrong note.
        """
        cleared = await self._flows.abuse.clear(
            request.clients,
            self._changing.author(context, note_of(request.note)),
            dry_run=request.validate_only,
        )
        return fleet_pb2.ClearBlockedClientsResponse(cleared=cleared)

    async def allow_network(
        self, request: fleet_pb2.AllowNetworkRequest, context: CallContext
    ) -> fleet_pb2.AllowNetworkResponse:
        """Allow a network, or take it back. With `validate_only`, change nothing.

        Raises BadInput for text that is no network, or a wrong note.
        """
        changed = await self._flows.abuse.allow(
            request.network,
            self._changing.author(context, note_of(request.note)),
            remove=request.remove,
            dry_run=request.validate_only,
        )
        return fleet_pb2.AllowNetworkResponse(changed=changed)

    async def _visible(
        self, caller: Caller, found: Sequence[LoggedChange]
    ) -> Sequence[LoggedChange]:
        """Return the changes of keys that the caller may see, by their tenant and project now.

        Without the right to see every key, deleted and unreadable keys are invisible.
        """
        seen = visible(caller, Action.WATCH)
        if seen.is_everything or not found:
            return found
        kids = list({change.kid for change in found})
        shown = {
            record.kid
            for record in await self._flows.index.read(kids)
            if isinstance(record, KeyRecord) and seen.covers(record.tenant_id, record.project_id)
        }
        return [change for change in found if change.kid in shown]


def _change(change: LoggedChange, versions: Sequence[int]) -> fleet_pb2.WatchChangesResponse:
    return fleet_pb2.WatchChangesResponse(
        version=change.version,
        key=name_of(change.kid),
        status=f"STATUS_{change.status.name}",
        change_time=timestamp(change.at),
        partition_versions=versions if len(versions) > 1 else (),
    )


def _sign_of_life(versions: Sequence[int]) -> fleet_pb2.WatchChangesResponse:
    if len(versions) == 1:
        return fleet_pb2.WatchChangesResponse(version=versions[0])
    return fleet_pb2.WatchChangesResponse(partition_versions=versions)


def _sidecar(heard: Heard, version: int) -> fleet_pb2.Sidecar:
    sidecar = heard.sidecar
    message = fleet_pb2.Sidecar(
        instance=sidecar.instance,
        program_version=sidecar.version,
        address=sidecar.address,
        start_time=timestamp(sidecar.started_at),
        applied_version=sidecar.applied,
        lag=None if sidecar.applied is None else max(0, version - sidecar.applied),
        trusted=heard.is_trusted,
        reason=sidecar.reason,
        silence=duration(heard.silent_ms),
        cached_keys=sidecar.entries,
        trust_lease=duration(sidecar.lease_ms),
        outage_grace=duration(sidecar.grace_ms),
        settings_version=sidecar.settings,
        charge_prefix=sidecar.charges,
        issued_charges=sidecar.issued,
    )
    if heard.silent_ms >= sidecar.lease_ms:
        message.reason = f"not heard for {heard.silent_ms / 1000:.1f} s"
    if sidecar.settings:
        message.settings_load_time.CopyFrom(timestamp(sidecar.settings_at))
    return message
