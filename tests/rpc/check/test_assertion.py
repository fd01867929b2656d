"""The header with the assertion: set where a route wants one, removed everywhere else."""

import json
from itertools import count

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.assertion import REUSED_MS, assertion_key_id
from authz.core.decision import Allow, Charged, Deny, Reason, StaleAllow
from authz.core.limits.charge import SpendReply, charge_for, limit_result
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.limit import parse_limits
from authz.core.request import Route
from authz.core.tokens.presented import AcceptedToken
from authz.core.tokens.text import decoded
from authz.flows.assertions import AssertionSigner
from authz.rpc.check.assertion import AssertionHeaders
from authz.rpc.check.strip import Strip
from tests.support.fakes import KID, NOW, FakeClock, make_record, make_request
from tests.support.rpc.answers import headers_of, responder
from tests.support.tokens import PRIVATE

NAME = "x-auth-assertion"
RECORD = make_record(scopes=frozenset({"a:*", "b"}))
ORDERS = Route(assertion="orders")
TOKEN = AcceptedToken("one", KID, "1", frozenset({"a:r"}), NOW + 1000, "k")


class Rig:
    """A responder that signs. signed: how many assertions it has made."""

    def __init__(self, **settings) -> None:
        self.clock, self.signed = FakeClock(), 0
        key_id = assertion_key_id(PRIVATE.x, PRIVATE.y)
        self._signer = AssertionSigner("https://gate.example", key_id, PRIVATE, self.clock)
        headers = AssertionHeaders(NAME, self._sign, self.clock.wall_ms, max_entries=4)
        self._write = responder(assertions=headers, **settings).write

    def ok(self, decision, **request):
        """Return the parsed allow."""
        raw = self._write(decision, make_request(**request))
        return CheckResponse.FromString(raw).ok_response

    def text(self, decision, **request):
        """Return the assertion of an allow, or None if the header is removed. It is one of both."""
        found = self.ok(decision, **request)
        text = headers_of(found).get(NAME)
        assert (text is None) == (NAME in found.headers_to_remove)
        return text

    def _sign(self, *about):
        self.signed += 1
        return self._signer.sign(*about)


@pytest.fixture
def rig():
    """Return a responder that signs."""
    return Rig()


def claims(text):
    """Return the claims of an assertion."""
    return json.loads(decoded(text.split(".")[1]))


@pytest.mark.parametrize("kind", [Allow, StaleAllow])
def test_a_route_that_wants_one_gets_one(rig, kind):
    """The assertion names issuer, audience and key; the other identity headers stay."""
    found = rig.ok(kind(RECORD), route=ORDERS)
    said = claims(headers_of(found)[NAME])

    assert (said["iss"], said["aud"], said["sub"]) == ("https://gate.example", "orders", KID)
    assert headers_of(found)["x-auth-key-id"] == KID
    assert NAME not in found.headers_to_remove


def test_a_key_with_limits_gets_one(rig):
    """An allow that took from limits has it beside the headers of the limits, also for a token."""
    record = make_record(limits=parse_limits("limits", ("10/s",)))
    limits = LimitPolicy().of(record, 0)
    charge = charge_for(limits, 1, NOW)
    allow = Charged(record, limit_result(charge, SpendReply(1, NOW * 1000, (9,), (0,))))
    for token in (None, TOKEN):
        assert claims(rig.text(allow, route=ORDERS, token=token))["aud"] == "orders"
        assert rig.text(allow, token=token) is None


def test_every_other_answer_removes_it(rig):
    """Without an audience, without a key and for a refusal that is reported there is none."""
    assert rig.text(Allow(RECORD)) is None
    assert rig.text(Allow(None), route=ORDERS) is None
    reporting = Rig(find_keys=lambda _request: Strip())
    refusal = Deny(Reason.INSUFFICIENT_SCOPE, RECORD)
    for token in (None, TOKEN):
        route = Route(assertion="orders", enforce=False)
        assert reporting.text(refusal, route=route, token=token) is None
    raw = responder().write(Allow(RECORD), make_request(route=ORDERS))
    assert NAME in CheckResponse.FromString(raw).ok_response.headers_to_remove
    assert (rig.signed, reporting.signed) == (0, 0)


def test_one_assertion_serves_many_requests(rig):
    """An assertion is made anew after 10 seconds, and if the clock goes back."""
    first = rig.text(Allow(RECORD), route=ORDERS)
    rig.clock.jump_wall(REUSED_MS - 1)
    assert rig.text(Allow(RECORD), route=ORDERS) == first
    rig.clock.jump_wall(1)
    second = rig.text(Allow(RECORD), route=ORDERS)
    assert claims(second)["exp"] == claims(first)["exp"] + REUSED_MS // 1000
    assert claims(second)["jti"] != claims(first)["jti"]
    rig.clock.jump_wall(-60_000)
    assert claims(rig.text(Allow(RECORD), route=ORDERS))["iat"] < claims(first)["iat"]
    assert rig.signed == 3


def test_keys_tokens_and_audiences_do_not_mix(rig):
    """Each pair of key or token and audience has its own, and a changed key has a new one."""
    narrowed = make_record(scopes=frozenset({"b"}))
    other = make_record(kid="o" * 16)
    cases = [
        (RECORD, None, "orders", "a:* b"),
        (RECORD, TOKEN, "orders", "a:r"),
        (RECORD, None, "bills", "a:* b"),
        (narrowed, None, "orders", "b"),
        (other, None, "orders", " ".join(sorted(other.scopes))),
    ]
    for key, token, audience, scopes in [*cases, *reversed(cases)]:
        said = claims(rig.text(Allow(key), route=Route(assertion=audience), token=token))
        assert (said["sub"], said["aud"], said["scope"]) == (key.kid, audience, scopes)
        assert said.get("tid") == (token.id if token else None)


def test_memory_is_bounded(rig):
    """More keys than are remembered get right assertions, each with a signature."""
    serial = count()
    for _ in range(20):
        record = make_record(kid=f"{next(serial):016}")
        assert claims(rig.text(Allow(record), route=ORDERS))["sub"] == record.kid
    assert rig.signed == 20
