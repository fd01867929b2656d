"""The Usage service, and the usage of a holder, on a real store."""

import asyncio
import time
from datetime import UTC, datetime

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from authz.client import AdminClient
from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import audit_entry_pb2, audit_pb2, keys_pb2, me_pb2, usage_pb2
from authz.storage.schema import DEFAULT
from authz.wiring import administration
from tests.support.rpc.admin import AdminRig, Stubs, fields_of, reason_of
from tests.support.rpc.rest import RestClient
from tests.support.usage import line
from tests.support.usage_counting import DAY, count_entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODE = grpc.StatusCode
Audited = audit_entry_pb2.AuditEntry
DENIED = {"code": "403", "reason": "revoked", "flags": "UAEX", "charged": "-"}
GONE = "Z" * 16  # was used, and has no record


async def count(rig: AdminRig, *entries: tuple[str, int, dict[str, str]]) -> None:
    """Count entries: kid, days ago, and other fields of the line."""
    now = time.time_ns() // 1_000_000
    lines = [
        line(kid=kid, started=now - ago * DAY, milliseconds="0", **other)
        for kid, ago, other in entries
    ]
    await count_entries(administration.endpoint(rig.settings), lines, now)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def used(rig: AdminRig) -> dict[str, str]:
    """The kids of two keys of the tenant north and one of south, with usage, and their texts."""
    found: dict[str, str] = {}
    for name, tenant in (("one", "north"), ("two", "north"), ("far", "south")):
        found[name], found[f"{name} text"] = await rig.issue(client_id=name, tenant_id=tenant)
    await count(
        rig,
        (found["one"], 0, {"route": "chat"}),
        (found["one"], 1, {"route": "models", "charged": "5", "code": "500"}),
        (found["one"], 0, DENIED),
        (found["two"], 0, {"agent": "python-requests/2", "address": "2001:db8::1"}),
        *((found["far"], 0, {}) for _ in range(7)),
        (GONE, 0, {}),
    )
    return found


async def usage(stubs: Stubs, **fields) -> usage_pb2.ListUsageResponse:
    """Ask for usage."""
    return await stubs.usage.ListUsage(usage_pb2.ListUsageRequest(**fields))


async def refusal(call) -> grpc.aio.AioRpcError:
    """Return the error of a call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_one_key(admin: Stubs, used) -> None:
    """A report has the numbers by day, their sum, refusals by reason and the completeness."""
    report = (await usage(admin, key=f"keys/{used['one']}")).report
    total = report.total
    numbers = (total.requests, total.ok, total.server_error, total.denied, total.units)
    assert numbers == (3, 1, 1, 1, 6)
    assert [row.counts.requests for row in report.rows] == [1, 2]
    assert report.rows[0].start_time.seconds % 86_400 == 0
    assert report.start_time.seconds <= report.rows[0].start_time.seconds
    assert (report.key_count, dict(report.denied_by_reason)) == (1, {"revoked": 1})
    done = report.completeness
    assert done.seen == 12
    assert done.issued - done.seen == done.missing


async def test_groups(admin: Stubs, used) -> None:
    """Rows are hours, months or routes; of all requests also codes."""
    key = f"keys/{used['one']}"
    routes = (await usage(admin, key=key, group_by=usage_pb2.USAGE_GROUP_ROUTE)).report.rows
    assert {row.route: row.counts.requests for row in routes} == {"chat": 1, "models": 2}
    for group in (usage_pb2.USAGE_GROUP_HOUR, usage_pb2.USAGE_GROUP_MONTH):
        report = (await usage(admin, key=key, group_by=group)).report
        assert sum(row.counts.requests for row in report.rows) == 3
        assert all(row.WhichOneof("group") == "start_time" for row in report.rows)
    report = (await usage(admin, group_by=usage_pb2.USAGE_GROUP_STATUS)).report
    codes = {row.status: row.counts.requests for row in report.rows}
    assert codes == {"200": 10, "403": 1, "500": 1}
    assert not report.HasField("key_count")


async def test_minutes(admin: Stubs, used) -> None:
    """Minutes reach back an hour if no start is given: of a key, of some keys, of all requests."""
    for fields, requests in (
        ({"key": f"keys/{used['one']}"}, 2),
        ({"filter": "tenant_id = north"}, 3),
        ({}, 11),
    ):
        report = (await usage(admin, group_by=usage_pb2.USAGE_GROUP_MINUTE, **fields)).report
        assert report.total.requests == requests
        assert sum(row.counts.requests for row in report.rows) == requests
        assert all(row.start_time.seconds % 60 == 0 for row in report.rows)
        assert 60 <= (report.end_time.seconds - report.start_time.seconds) // 60 <= 61
    error = await refusal(
        usage(admin, group_by=usage_pb2.USAGE_GROUP_MINUTE, since_time=Timestamp(seconds=1))
    )
    assert fields_of(error) == ["since_time"]


async def test_a_filter_sums_keys(admin: Stubs, used) -> None:
    """A filter picks keys as in ListKeys."""
    report = (await usage(admin, filter="tenant_id = north")).report
    assert (report.total.requests, report.key_count) == (4, 2)
    report = (await usage(admin, filter="client_id = nobody")).report
    assert (report.total.requests, report.key_count, list(report.rows)) == (0, 0, [])


async def test_a_span(admin: Stubs, used) -> None:
    """Only requests between the two times count, in whole days."""
    now = int(time.time())
    key, today = f"keys/{used['one']}", Timestamp(seconds=now - now % 86_400)
    report = (await usage(admin, key=key, since_time=today)).report
    assert report.total.requests == 2
    report = (await usage(admin, key=key, until_time=today)).report
    assert (report.total.requests, report.end_time) == (1, today)


async def test_pages(admin: Stubs, used) -> None:
    """Pages have each row once, and the total of all pages. A token belongs to its request."""
    wanted = {"group_by": usage_pb2.USAGE_GROUP_ROUTE, "filter": "tenant_id = north"}
    whole = await usage(admin, **wanted)
    rows, token = [], ""
    for _ in whole.report.rows:
        page = await usage(admin, page_size=1, page_token=token, **wanted)
        assert page.report.total == whole.report.total
        rows += page.report.rows
        token = page.next_page_token
    assert (rows, token) == (list(whole.report.rows), "")
    first = await usage(admin, page_size=1, **wanted)
    error = await refusal(usage(admin, page_token=first.next_page_token))
    assert fields_of(error) == ["page_token"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"key": "7Hk2mQ9xT4bVzR1c"}, "key"),
        ({"key": "keys/7Hk2mQ9xT4bVzR1c", "filter": "env = live"}, "filter"),
        ({"filter": "age = 3"}, "filter"),
        ({"filter": "env = live", "group_by": usage_pb2.USAGE_GROUP_STATUS}, "group_by"),
        ({"group_by": 9}, "group_by"),
        ({"page_size": -1}, "page_size"),
        ({"since_time": Timestamp(seconds=-1)}, "since_time"),
        ({"until_time": Timestamp(seconds=-1)}, "until_time"),
        ({"since_time": Timestamp(seconds=2**33)}, "since_time"),
        ({"since_time": Timestamp(), "group_by": usage_pb2.USAGE_GROUP_HOUR}, "since_time"),
    ],
)
async def test_bad_requests_name_the_field(admin: Stubs, fields, field: str) -> None:
    """A wrong field is refused and named."""
    assert fields_of(await refusal(usage(admin, **fields))) == [field]


async def test_unused_keys(rig: AdminRig, admin: Stubs, used) -> None:
    """A filter finds keys that were not used since a time, if usage was counted at that time."""
    now = int(time.time())
    idle, in_use = [(await rig.issue(client_id="c", tenant_id="unused"))[0] for _ in range(2)]
    await count(rig, (in_use, 0, {}))
    async with administration.endpoint(rig.settings).client() as client:
        for kid in (idle, in_use):
            await client.zadd(DEFAULT.keys, {kid: (now - 5 * 86_400) * 1000})
    midnight = Timestamp(seconds=now - now % 86_400).ToJsonString()
    unused = f'tenant_id = unused AND last_use_time < "{midnight}"'
    listed = await admin.keys.ListKeys(keys_pb2.ListKeysRequest(filter=unused))
    assert [key.name for key in listed.keys] == [f"keys/{idle}"]
    disable = keys_pb2.ChangeKeysRequest(
        filter=unused, disable=keys_pb2.ChangeKeysRequest.Disable(), validate_only=True
    )
    names = [answer.name async for answer in admin.keys.ChangeKeys(disable)]
    assert names == [f"keys/{idle}"]
    early = keys_pb2.ListKeysRequest(filter='last_use_time < "2001-01-01T00:00:00Z"')
    error = await refusal(admin.keys.ListKeys(early))
    assert fields_of(error) == ["filter"]
    assert "not yet counted" in (error.details() or "")


async def test_top_keys(admin: Stubs, used) -> None:
    """The keys that were used most, also deleted ones, by each order."""
    ask = admin.usage.ListTopKeys
    found = await ask(usage_pb2.ListTopKeysRequest())
    rows = [(row.name, row.client_id, row.counts.requests) for row in found.keys]
    assert rows[:2] == [(f"keys/{used['far']}", "far", 7), (f"keys/{used['one']}", "one", 3)]
    assert (f"keys/{GONE}", "", 1) in rows
    assert found.key_count == len(found.keys)
    request = usage_pb2.ListTopKeysRequest(order=usage_pb2.USAGE_ORDER_DENIED, limit=1)
    assert [row.client_id for row in (await ask(request)).keys] == ["one"]
    now = datetime.now(UTC)
    month = await ask(usage_pb2.ListTopKeysRequest(month=f"{now:%Y-%m}", limit=2))
    assert month.start_time.ToDatetime(UTC).day == 1
    assert [row.client_id for row in month.keys] == ["far", "one"]
    for fields, field in (
        ({"month": "2026-13"}, "month"),
        ({"month": "2026-11-01"}, "month"),
        ({"month": "2026-11", "since_time": Timestamp(seconds=1)}, "month"),
        ({"limit": 501}, "limit"),
        ({"limit": -1}, "limit"),
        ({"since_time": Timestamp(seconds=2**33)}, "since_time"),
        ({"order": 7}, "order"),
    ):
        error = await refusal(ask(usage_pb2.ListTopKeysRequest(**fields)))
        assert fields_of(error) == [field]


async def test_the_latest_use(admin: Stubs, used) -> None:
    """A key and its secrets have time, network and user agent of the latest use."""
    name = f"keys/{used['two']}/latestUse"
    found = await admin.usage.GetLatestUse(usage_pb2.GetLatestUseRequest(name=name))
    use = found.latest_use
    assert (use.name, use.last_30_days.requests) == (name, 1)
    assert (use.latest.network, use.latest.user_agent) == ("2001:db8::/48", "python-requests")
    assert abs(use.latest.use_time.seconds - time.time()) < 600
    (secret,) = use.secrets
    assert (secret.secret_id, secret.requests, secret.latest) == ("s1", 1, use.latest)
    listed = await admin.keys.ListKeys(keys_pb2.ListKeysRequest(filter="client_id = two"))
    assert [key.last_use_time for key in listed.keys] == [use.latest.use_time]
    for wrong in (f"keys/{used['two']}", f"keys/{used['two']}/limits", "keys/x/latestUse"):
        request = usage_pb2.GetLatestUseRequest(name=wrong)
        assert fields_of(await refusal(admin.usage.GetLatestUse(request))) == ["name"]


async def test_the_latest_denials(admin: Stubs, used) -> None:
    """A denial says when and why, and how many were alike."""
    name = f"keys/{used['one']}/latestUse"
    found = await admin.usage.GetLatestUse(usage_pb2.GetLatestUseRequest(name=name))
    (denial,) = found.latest_use.denials
    assert (denial.reason, denial.status, denial.method) == ("revoked", "403", "GET")
    assert (denial.network, denial.requests) == ("203.0.113.0/24", 1)
    assert abs(denial.denial_time.seconds - time.time()) < 3 * 86_400


async def test_a_key_that_was_never_used(rig: AdminRig, admin: Stubs, used) -> None:
    """A key without usage has an empty report; a kid without key and usage is NOT_FOUND."""
    kid, _ = await rig.issue(client_id="idle")
    assert (await usage(admin, key=f"keys/{kid}")).report.total.requests == 0
    request = usage_pb2.GetLatestUseRequest(name=f"keys/{kid}/latestUse")
    use = (await admin.usage.GetLatestUse(request)).latest_use
    assert not use.HasField("latest")
    listed = await admin.keys.ListKeys(keys_pb2.ListKeysRequest(filter="client_id = idle"))
    assert not listed.keys[0].HasField("last_use_time")
    nobody = "0" * 16
    request = usage_pb2.GetLatestUseRequest(name=f"keys/{nobody}/latestUse")
    for call in (usage(admin, key=f"keys/{nobody}"), admin.usage.GetLatestUse(request)):
        error = await refusal(call)
        assert (error.code(), reason_of(error)) == (CODE.NOT_FOUND, "KEY_NOT_FOUND")


async def test_a_bound_role_sees_its_tenant_only(rig: AdminRig, admin: Stubs, used) -> None:
    """No sum, count or completeness has usage of another tenant, or of a deleted key."""
    stubs = await rig.caller(Role.AUDITOR, tenant_id="north")
    report = (await usage(stubs)).report
    # The caller's own key is the third one.
    assert (report.total.requests, report.key_count) == (4, 3)
    assert not report.HasField("completeness")
    report = (await usage(stubs, filter="tenant_id = south")).report
    assert (report.total.requests, report.key_count) == (0, 0)
    top = await stubs.usage.ListTopKeys(usage_pb2.ListTopKeysRequest())
    assert ([row.client_id for row in top.keys], top.key_count) == (["one", "two"], 2)
    error = await refusal(usage(stubs, group_by=usage_pb2.USAGE_GROUP_STATUS))
    assert fields_of(error) == ["group_by"]
    for kid in (used["far"], GONE):
        latest = usage_pb2.GetLatestUseRequest(name=f"keys/{kid}/latestUse")
        for call in (usage(stubs, key=f"keys/{kid}"), stubs.usage.GetLatestUse(latest)):
            error = await refusal(call)
            assert (error.code(), error.details()) == (
                CODE.NOT_FOUND,
                f"no key has the kid {kid}",
            )
    assert (await usage(admin, key=f"keys/{GONE}")).report.total.requests == 1


async def test_a_role_of_a_project_sees_its_project_only(rig: AdminRig, used) -> None:
    """A binding to a project without tenant counts neither other projects nor deleted keys."""
    kid, _ = await rig.issue(client_id="mine", project_id="search")
    await count(rig, (kid, 0, {"agent": "b/1"}))
    stubs = await rig.caller(Role.VIEWER, project_id="search")
    top = await stubs.usage.ListTopKeys(usage_pb2.ListTopKeysRequest())
    assert ([row.client_id for row in top.keys], top.key_count) == (["mine"], 1)
    assert (await usage(stubs)).report.total.requests == 1


async def test_erasing(rig: AdminRig, admin: Stubs, used) -> None:
    """Networks and user agents go, counts and times stay. The trail has author and key."""
    kid, _ = await rig.issue(client_id="erase", tenant_id="north")
    await count(rig, (kid, 0, {"agent": "a/1"}))
    name, ask = f"keys/{kid}/usage", usage_pb2.EraseUsageRequest
    north = await rig.caller(Role.ADMIN, tenant_id="north")
    tried = await north.usage.EraseUsage(ask(name=name, validate_only=True))
    assert tried.erased == 0
    wanted = audit_pb2.ListAuditEntriesRequest(action=Audited.ACTION_ERASE_USAGE)
    assert not (await admin.audit.ListAuditEntries(wanted)).entries
    done = await north.usage.EraseUsage(ask(name=name, note="asked for by mail"))
    assert done.erased > 0
    for stubs in (admin, north):
        (entry,) = (await stubs.audit.ListAuditEntries(wanted)).entries
        assert (entry.key, entry.note) == (f"keys/{kid}", "asked for by mail")
        assert entry.actor.startswith("key:")
        assert entry.source
        assert entry.request_id
    south = await rig.caller(Role.AUDITOR, tenant_id="south")
    assert not (await south.audit.ListAuditEntries(wanted)).entries
    verified = await admin.audit.VerifyAuditTrail(audit_pb2.VerifyAuditTrailRequest())
    assert verified.intact
    latest = usage_pb2.GetLatestUseRequest(name=f"keys/{kid}/latestUse")
    use = (await admin.usage.GetLatestUse(latest)).latest_use
    assert (use.latest.network, use.latest.user_agent, use.last_30_days.requests) == ("", "", 1)
    assert use.latest.use_time.seconds
    assert (await admin.usage.EraseUsage(ask(name=name))).erased == 0
    # Of a deleted key: only by a role of the whole installation.
    gone = ask(name=f"keys/{GONE}/usage")
    assert (await refusal(north.usage.EraseUsage(gone))).code() is CODE.NOT_FOUND
    assert (await admin.usage.EraseUsage(gone)).erased > 0
    # The key of a higher role: as for every change of it.
    strong, _ = await rig.issue([Role.ADMIN.scope])
    error = await refusal(north.usage.EraseUsage(ask(name=f"keys/{strong}/usage")))
    assert error.code() is CODE.NOT_FOUND
    for wrong in (ask(name=f"keys/{kid}"), ask(name=name, note="a\nb")):
        (field,) = fields_of(await refusal(north.usage.EraseUsage(wrong)))
        assert field == ("note" if wrong.note else "name")


async def test_a_holder_sees_its_own_usage(rig: AdminRig, used) -> None:
    """The holder of a key sees its usage and latest use, and nothing about the installation."""
    stubs = rig.stubs(used["one text"])
    request = me_pb2.GetMyUsageRequest(group_by=usage_pb2.USAGE_GROUP_ROUTE)
    found = await stubs.me.GetMyUsage(request)
    assert (found.report.total.requests, found.report.key_count) == (3, 1)
    assert not found.report.HasField("completeness")
    assert found.latest_use.latest.network == "203.0.113.0/24"
    bad = me_pb2.GetMyUsageRequest(since_time=Timestamp(seconds=2**33))
    assert fields_of(await refusal(stubs.me.GetMyUsage(bad))) == ["since_time"]
    assert (await refusal(usage(stubs))).code() is CODE.PERMISSION_DENIED


async def test_rest_and_the_client(rig: AdminRig, used) -> None:
    """The same answers over REST, and with the Python client."""
    _, text = await rig.issue([Role.VIEWER.scope])
    client = RestClient(rig.process.http, text)
    got = await client.send("GET", f"/v1/usage?key=keys/{used['one']}&groupBy=USAGE_GROUP_ROUTE")
    assert got.body["report"]["total"]["requests"] == "3"
    got = await client.send("GET", "/v1/usage/topKeys?limit=1")
    assert [row["clientId"] for row in got.body["keys"]] == ["far"]
    got = await client.send("GET", f"/v1/keys/{used['one']}/latestUse")
    assert got.body["latestUse"]["latest"]["userAgent"] == "curl"
    got = await client.send("POST", f"/v1/keys/{used['one']}/usage:erase", {})
    assert (got.status, got.body["reason"]) == (403, "ACTION_NOT_PERMITTED")

    def total() -> int:
        address = str(rig.process.server.address)
        with AdminClient(address, credential=text) as admin:
            request = usage_pb2.ListUsageRequest(key=f"keys/{used['one']}")
            pages = admin.pages(admin.usage.ListUsage, request)
            return sum(row.counts.requests for page in pages for row in page.report.rows)

    assert await asyncio.to_thread(total) == 3
