"""The anomalies of keys over the admin API and by the command, on a real store."""

import time

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from authz.core.roles import Role
from authz.core.usage.anomalies.features import Feature, Gap, Reason
from authz.core.usage.anomalies.ports import Round
from authz.core.usage.anomalies.ranking import Anomaly
from authz.rpc.pb.admin.v1 import usage_pb2
from authz.storage.usage.habits import StoredHabits
from authz.wiring import administration
from tests.support.rpc.admin import AdminRig, Stubs, fields_of
from tests.support.rpc.rest import RestClient

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR = int(time.time()) // 3600  # not closed yet, so the process under test judges nothing more
RATE = Reason(Feature.RATE, 900, 100, 3.5)
DENIED = Reason(Feature.DENIED, 0.5, 0.01, 2)
Ask = usage_pb2.ListAnomaliesRequest


async def test_the_ranking(rig: AdminRig, admin: Stubs) -> None:
    """Keys come by their risk, for each caller those that it may see, with what was not judged."""
    assert not (await admin.usage.ListAnomalies(Ask())).keys
    near, _ = await rig.issue(client_id="near", tenant_id="north")
    far, _ = await rig.issue(client_id="far", tenant_id="south")
    async with administration.endpoint(rig.settings).client() as client:
        store = StoredHabits(client)
        found = [Anomaly(near, HOUR, (RATE,)), Anomaly(far, HOUR, (RATE, DENIED))]
        await store.save({}, [*found, Anomaly(near, HOUR - 30, (DENIED,))])
        await store.finish(Round(HOUR, 7, 2, 0, {(Feature.NETWORKS, Gap.PRIVATE): 5}))
    answer = await admin.usage.ListAnomalies(Ask())
    assert [(one.name, one.client_id, one.risk) for one in answer.keys] == [
        (f"keys/{far}", "far", usage_pb2.ANOMALY_RISK_HIGH),
        (f"keys/{near}", "near", usage_pb2.ANOMALY_RISK_ELEVATED),
    ]
    reasons = [(one.feature, one.observed, one.strength) for one in answer.keys[0].reasons]
    assert reasons == [
        (usage_pb2.ANOMALY_FEATURE_RATE, 900, 3.5),
        (usage_pb2.ANOMALY_FEATURE_DENIED, 0.5, 2),
    ]
    judged = answer.judged
    assert (judged.start_time.seconds, judged.key_count) == (HOUR * 3600, 7)
    assert [(one.cause, one.key_count) for one in judged.not_judged] == [("private_addresses", 5)]
    longer = await admin.usage.ListAnomalies(
        Ask(since_time=Timestamp(seconds=(HOUR - 40) * 3600), limit=1)
    )
    assert (len(longer.keys), longer.key_count) == (1, 2)
    north = await (await rig.caller(Role.VIEWER, tenant_id="north")).usage.ListAnomalies(Ask())
    assert ([one.client_id for one in north.keys], north.key_count) == (["near"], 1)
    assert not north.HasField("judged")
    _, text = await rig.issue([Role.VIEWER.scope])
    answer = await RestClient(rig.process.http, text).send("GET", "/v1/usage/anomalies?limit=1")
    assert (answer.status, answer.body["keys"][0]["risk"]) == (200, "ANOMALY_RISK_HIGH")
    for fields, field in (
        ({"limit": 501}, "limit"),
        ({"limit": -1}, "limit"),
        ({"since_time": Timestamp(seconds=(HOUR - 36 * 24) * 3600)}, "since_time"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await admin.usage.ListAnomalies(Ask(**fields))
        assert fields_of(caught.value) == [field]
