"""Sidecars over the admin API."""

from authz.core.sidecars import Heard, Sidecar
from authz.remote.calls import Calls
from authz.remote.records import length_of, ms_of
from authz.rpc.pb.admin.v1 import fleet_pb2


class RemoteSidecars:
    """SidecarFinder over the admin API: the sidecars that may still serve keys."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def find(self) -> tuple[int, list[Heard]]:
        """Return the number of the last change, and the sidecars.

        With several partitions it is the sum over all of them.
        """
        request = fleet_pb2.ListSidecarsRequest()
        response = await self._calls.read(self._calls.client.fleet.ListSidecars, request)
        version = sum(response.partition_versions) or response.version
        return version, [_heard(one) for one in response.sidecars]


def _heard(one: fleet_pb2.Sidecar) -> Heard:
    has_settings = one.HasField("settings_load_time")
    sidecar = Sidecar(
        instance=one.instance,
        version=one.program_version,
        address=one.address,
        started_at=ms_of(one.start_time),
        applied=one.applied_version if one.HasField("applied_version") else None,
        lease_ms=length_of(one.trust_lease),
        grace_ms=length_of(one.outage_grace),
        trusted=one.trusted,
        reason=one.reason,
        entries=one.cached_keys,
        settings=one.settings_version,
        settings_at=ms_of(one.settings_load_time) if has_settings else 0,
        charges=one.charge_prefix,
        issued=one.issued_charges,
    )
    return Heard(sidecar, length_of(one.silence))
