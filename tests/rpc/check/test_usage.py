"""The metadata for usage records: route, units, the secret that was used, and charge ids."""

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.decision import Allow, Charged, Decision, Deny, OverLimit, Reason, StaleAllow
from authz.core.keys.text import new_kid
from authz.core.limits.key_limits import KeyLimits, LimitGroup, LimitResult, Owner
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.partitions import Partitions
from authz.core.records import KeyRecord, Secret
from authz.core.request import Request, Route
from authz.core.usage.line import GATE_FIELDS
from authz.core.usage.parts import Parts
from authz.rpc.check import usage
from authz.rpc.check.respond import Responder
from authz.rpc.check.response_parts import ChargeIds, charge_ids
from authz.rpc.check.strip import carrier_strip
from tests.support.fakes import NOW, issue_record, make_record, make_request
from tests.support.rpc.answers import responder
from tests.support.rpc.reading import RING

CHAT = Route(label="chat", cost=7)


def facts(writer: Responder, decision: Decision, request: Request) -> dict[str, object]:
    """Return the dynamic metadata of one response."""
    return dict(CheckResponse.FromString(writer.write(decision, request)).dynamic_metadata)


def rotated() -> tuple[KeyRecord, list[Request]]:
    """Return a key with two secrets, and a request by the old and one by the new secret."""
    _, old = issue_record(RING)
    _, new = issue_record(RING)
    texts = [RING.parse(text) for text in (old, new)]
    secrets = tuple(
        Secret(str(n), text.digest(), "1", NOW) for n, text in enumerate(texts, start=1)
    )
    requests = [make_request(credential=text, route=CHAT) for text in texts]
    return make_record(secrets=secrets), requests


def test_an_allow_names_the_route_and_the_units():
    """One key uses two routes: each response has the label and the cost of its own route."""
    writer, key = responder(), make_record()
    for route, label, units in ((CHAT, "chat", "7"), (Route(cost=0), None, "0")) * 2:
        for decision in (Allow(key), StaleAllow(key)):
            found = facts(writer, decision, make_request(route=route))
            assert (found.get("route"), found["charged"]) == (label, units)


@pytest.mark.parametrize(
    "decision",
    [
        Allow(None),
        Deny(Reason.FORGED),
        Deny(Reason.UNAVAILABLE),
        Deny(Reason.EXPIRED, make_record()),
    ],
    ids=["anonymous", "unproven", "unavailable", "proven"],
)
def test_a_request_that_costs_nothing_names_its_route_only(decision):
    """A refusal and an anonymous request take no units."""
    found = facts(responder(), decision, make_request(route=CHAT))
    assert found["route"] == "chat"
    assert "charged" not in found


def test_a_reported_refusal_takes_no_units():
    """A route that does not enforce is named all the same."""
    route = Route(label="chat", enforce=False)
    writer = responder(find_keys=lambda request: carrier_strip(request.carrier))
    found = facts(writer, Deny(Reason.EXPIRED, make_record()), make_request(route=route))
    assert (found["route"], found["report_only"]) == ("chat", True)
    assert "charged" not in found


@pytest.mark.parametrize(
    "make", [Allow, lambda key: Deny(Reason.EXPIRED, key)], ids=["allow", "deny"]
)
def test_during_an_overlap_each_response_names_its_secret(make):
    """The two secrets of a key are told apart, whichever came first."""
    key, requests = rotated()
    writer = responder()
    for request, secret in (*zip(requests, "12", strict=True), (requests[0], "1")):
        assert facts(writer, make(key), request)["secret_id"] == secret


def test_an_imported_secret_is_named():
    """An imported key that was rotated has an imported and a native secret."""
    imported = RING.parse_imported("sk-9f8e7d6c/5b4a+3210==")
    ((_, digest),) = imported.digests()
    secrets = (Secret("1", digest, "1", NOW), Secret("2", bytes(range(32)), "1", NOW))
    request = make_request(credential=imported)
    assert facts(responder(), Allow(make_record(secrets=secrets)), request)["secret_id"] == "1"


def test_a_refusal_of_an_unproven_key_names_no_secret():
    """A caller that has proven nothing is nobody in the records of usage."""
    found = facts(responder(), Deny(Reason.WRONG_SECRET), rotated()[1][0])
    assert not found.keys() & {"secret_id", "key_id", "client_id", "env"}


def test_more_routes_than_there_is_room_for(monkeypatch):
    """Each response names its own route."""
    monkeypatch.setattr(usage, "MAX_ROUTES", 3)
    writer, key = responder(), make_record()
    for number in range(20):
        route = Route(label=f"r{number}", cost=number)
        found = facts(writer, Allow(key), make_request(route=route))
        assert (found["route"], found["charged"]) == (f"r{number}", str(number))
    assert len(writer._routes._charged) == len(writer._routes._kept) <= 3


def test_charge_ids_count_without_a_gap_over_a_reload():
    """Two responders with the ids of one process continue one count; `issued` is its last."""
    ids = ChargeIds()
    assert ids.issued == 0
    serials = [
        int(str(facts(writer, decision, make_request())["charge_id"])[16:], 16)
        for writer in (responder(ids=ids), responder(ids=ids))
        for decision in (Allow(make_record()), Deny(Reason.FORGED), Allow(None))
    ]
    assert serials == [1, 2, 3, 4, 5, 6]
    assert ids.issued == 6


def test_the_last_resort_does_not_count():
    """The prepared answer to a fault has the serial number 0, and takes none from the count."""
    ids = ChargeIds()
    raw = responder(ids=ids).refuse_uncounted(Deny(Reason.UNAVAILABLE), make_request())
    assert CheckResponse.FromString(raw).dynamic_metadata["charge_id"] == (
        ids.prefix.decode() + "0" * 12
    )
    assert ids.issued == 0


def logged(found: dict[str, object]) -> bytes:
    """Return the line that Envoy writes about an answer with these facts."""
    gate = " ".join(str(found.get(name, "-")) for name in GATE_FIELDS)
    return f"4 {gate} DownstreamEnd 200 - - 1 2 3 127.0.0.1 4 - 1 via GET - curl".encode()


def test_each_partition_of_the_store_has_charge_ids_of_its_own():
    """An answer about a key has the next id of its home, any other that of the first partition.

    The meter gives the line of each answer to the partition that its charge id names.
    """
    partitions = Partitions(8)
    ids = charge_ids(partitions)
    writer = responder(ids=ids, find_keys=lambda _request: carrier_strip(""))
    limits = KeyLimits(
        (LimitGroup(Owner.KEY, "", parse_limits("limits", ("2/month",))),), OnOutage.LOCAL
    )
    result = LimitResult(limits, (1,), (1000,), windows=(3600,))
    taken: dict[int, list[str]] = {}
    parts = Parts(partitions)
    for number in range(40):
        client, project, tenant = f"c{number % 5}", f"p{number % 3}", f"t{number}"
        key = make_record(
            kid=new_kid(),
            client_id=client,
            project_id=project if number % 2 else "",
            tenant_id=tenant if number % 4 < 2 else "",
        )
        report = make_request(route=Route(enforce=False, label="chat"))
        for decision, request in (
            (Allow(key), make_request(route=CHAT)),
            (StaleAllow(key), make_request(route=CHAT)),
            (Deny(Reason.EXPIRED, key), make_request(route=CHAT)),
            (Deny(Reason.EXPIRED, key), report),
            (Charged(key, result), make_request(route=CHAT)),
            (OverLimit(Reason.RATE_LIMITED, key, result), make_request(route=CHAT)),
            (OverLimit(Reason.RATE_LIMITED, key, result), report),
            (Deny(Reason.FORGED), make_request(route=CHAT)),
            (Deny(Reason.FORGED), report),
            (Allow(None), make_request(route=CHAT)),
        ):
            found = facts(writer, decision, request)
            kid = str(found.get("key_id", ""))
            assert kid == (decision.key.kid if decision.key else "")
            home = partitions.home_of(decision.key) if decision.key else 0
            taken.setdefault(home, []).append(str(found["charge_id"]))
            assert parts.of([logged(found)]).keys() == {home}
    (process,) = {charge[:14] for charges in taken.values() for charge in charges}
    for partition, part in enumerate(ids.parts):
        assert part.prefix.decode() == f"{process}{partition:02x}"
        wanted = [f"{part.prefix.decode()}{count + 1:012x}" for count in range(part.issued)]
        assert taken.get(partition, []) == wanted
    assert ids.uncounted().count() == 0


def test_one_partition_has_the_charge_ids_of_every_version_so_far():
    """Their prefix is random as a whole."""
    ids = charge_ids(Partitions(1))
    assert ids.parts == (ids,)
    assert ids.of(new_kid()) is ids
