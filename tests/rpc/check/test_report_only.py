"""Routes that do not enforce: refusals are reported in an allow."""

from base64 import b64encode
from dataclasses import replace

import pytest

from authz.core.decision import Allow, Deny, Reason, StaleDeny, decide_by_limits
from authz.core.limits.key_limits import KeyLimits, LimitGroup, LimitResult, Owner
from authz.core.limits.limit import OnOutage
from authz.core.request import Route
from authz.core.route_facts import Facts
from authz.core.route_rule import Rule
from authz.core.routes import RouteTable
from authz.rpc.check.reason_table import TABLE
from authz.rpc.check.strip import Strip
from tests.support.fakes import make_record, make_request
from tests.support.limits import limits
from tests.support.rpc.answers import headers_of, told
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.reading import JWT
from tests.support.rpc.reading import KEY as KEY_TEXT

KEY = make_record(project_id="search")
REPORTING = Route(enforce=False)
ALL_REASONS = pytest.mark.parametrize("reason", Reason)


def reported(decision, strip=Strip(), *, carrier="", **settings):  # noqa: B008  it is immutable
    """The response of a route that does not enforce; `strip`: where the request has keys."""
    path = "/v1/models?api_key=1&b=%2F&api_key=2"
    request = make_request(route=REPORTING, carrier=carrier, path=path)
    return told(decision, request, find_keys=lambda _request: strip, **settings)


@ALL_REASONS
def test_every_refusal_becomes_an_allow_that_says_so(reason):
    """A header tells the backend the code, the metadata tells Envoy the reason."""
    answer = reported(Deny(reason))
    assert answer.status.code == 0
    assert answer.WhichOneof("http_response") == "ok_response"
    assert headers_of(answer.ok_response) == {"x-auth-would-deny": TABLE[reason].code}
    assert answer.dynamic_metadata["reason"] == reason.value
    assert answer.dynamic_metadata["report_only"] is True
    assert answer.dynamic_metadata["charge_id"]


@pytest.mark.parametrize("decision", [Allow(None), Allow(KEY)], ids=["anonymous", "key"])
@pytest.mark.parametrize("route", [Route(), REPORTING], ids=["enforced", "reported"])
def test_an_allow_removes_the_mark_that_a_client_may_have_sent(decision, route):
    """On routes of either kind only the sidecar says would-deny."""
    answer = told(decision, make_request(route=route))
    assert "x-auth-would-deny" in answer.ok_response.headers_to_remove
    assert "report_only" not in answer.dynamic_metadata


def test_a_proven_key_keeps_its_identity_and_an_unproven_one_gets_none():
    """The backend may rely on every identity header, whatever is reported."""
    proven = reported(Deny(Reason.EXPIRED, KEY)).ok_response
    unproven = reported(Deny(Reason.WRONG_SECRET)).ok_response
    assert headers_of(proven)["x-auth-client-id"] == KEY.client_id
    assert headers_of(proven)["x-auth-project-id"] == "search"
    assert "x-auth-client-id" in unproven.headers_to_remove
    assert headers_of(unproven).keys() == {"x-auth-would-deny"}


def test_the_key_is_stripped_wherever_it_stands():
    """Every carrier that holds one, also two of them."""
    strip = Strip(("authorization", "x-other"), query=True)
    ok = reported(Deny(Reason.AMBIGUOUS_CREDENTIAL), strip, query="api_key").ok_response
    assert {"x-api-key", "authorization", "x-other"} <= set(ok.headers_to_remove)
    assert headers_of(ok)[":path"] == "/v1/models?b=%2F"
    ok = reported(Deny(Reason.MALFORMED), query="api_key").ok_response
    assert "authorization" not in ok.headers_to_remove
    assert ":path" not in headers_of(ok)


@ALL_REASONS
def test_a_refusal_stands_if_a_key_cannot_be_stripped(reason):
    """No key reaches a backend, whatever is reported."""
    answer = reported(Deny(reason), None)
    assert answer.status.code != 0
    assert answer.WhichOneof("http_response") != "ok_response"


SECRET = KEY_TEXT.split("_", 3)[3]
BASIC = b64encode(f"{KEY_TEXT}:".encode()).decode()
CUT = KEY_TEXT[:-1]


@pytest.mark.parametrize(
    ("headers", "path", "reason", "kept"),
    [
        ([("x-api-key", CUT)], "/", "malformed", {}),
        ([("authorization", f"Bearer {CUT}")], "/", "malformed", {}),
        ([("authorization", f"Token {KEY_TEXT}")], "/", "misplaced_credential", {}),
        ([("authorization", f"Basic {BASIC}")], "/", "misplaced_credential", {}),
        (
            [("x-api-key", KEY_TEXT), ("authorization", f"Bearer {KEY_TEXT}")],
            "/",
            "ambiguous_credential",
            {},
        ),
        ([("authorization", f"Bearer {JWT}")], "/", "unrecognized_credential", {"authorization"}),
        (
            [("x-api-key", CUT), ("authorization", f"Bearer {JWT}")],
            "/",
            "malformed",
            {"authorization"},
        ),
        ([], f"/?a=1&api_key={CUT}", "malformed", {}),
        ([("x-api-key", CUT)], "/?a=1", "malformed", {"query"}),
    ],
)
async def test_no_form_of_a_key_goes_on_and_nothing_else_is_removed(headers, path, reason, kept):
    """A reported request keeps a user's own token and its query."""
    door = Door(enforce=False, query="api_key")
    answer = await door.answer(check_request(headers, path=path))
    ok = answer.ok_response
    assert answer.status.code == 0
    assert answer.dynamic_metadata["reason"] == reason
    held = {name for name, value in headers if SECRET[:20] in value or BASIC in value}
    assert held <= set(ok.headers_to_remove)
    assert ("authorization" in ok.headers_to_remove) is (
        "authorization" not in kept and "authorization" in dict(headers)
    )
    assert (":path" in headers_of(ok)) is ("api_key" in path)
    assert KEY_TEXT not in headers_of(ok).get(":path", "")


@pytest.mark.parametrize(
    "path",
    [f"/?x={KEY_TEXT}&api_key={KEY_TEXT}", f"/?x={KEY_TEXT}", f"/?api%5Fkey={KEY_TEXT}"],
)
async def test_a_key_that_cannot_be_removed_from_the_query_is_refused(path):
    """Envoy removes parameters by their name, and no other."""
    door = Door(enforce=False, query="api_key")
    answer = await door.answer(check_request(path=path))
    assert answer.denied_response.status.code == 401
    assert door.probe.reports == []
    assert len(door.probe.decisions) == 1


@pytest.mark.parametrize(
    ("default", "extensions", "enforced"),
    [
        (True, {}, True),
        (True, {"enforce": "false"}, False),
        (False, {}, False),
        (False, {"enforce": "true"}, True),
        (True, {"enforce": "no"}, True),
        (True, {"enforce": "false", "scope": "a"}, False),
    ],
)
async def test_a_route_of_the_proxy_wins_over_the_setting(default, extensions, enforced):
    """A refusal is reported, and counted apart, where the route or the setting says so."""
    door = Door(enforce=default)
    answer = await door.answer(check_request(extensions=extensions))
    assert (answer.status.code != 0) is enforced
    assert len(door.probe.reports) == (not enforced)
    assert len(door.probe.decisions) == enforced


@pytest.mark.parametrize(
    "message",
    [{"method": "get"}, {"host": "a,b"}, {"host": "api.example.com:abc"}, {"path": ""}],
)
async def test_a_request_that_makes_no_sense_is_reported_too(message):
    """A rollout must not break clients whose requests are odd."""
    answer = await Door(enforce=False).answer(check_request(**message))
    assert headers_of(answer.ok_response)["x-auth-would-deny"] == "bad_request"


async def test_bytes_that_are_no_request_are_refused():
    """Nothing is known of what they hold."""
    answer = await Door(enforce=False).answer(b"\xff")
    assert answer.denied_response.status.code == 400


async def test_an_outage_is_reported_and_lets_the_request_through():
    """A fault of ours does not break a rollout. The key is stripped, its identity is not known."""
    door = Door(enforce=False)
    _, key = door.issue()
    door.cache.trust(0)
    answer = await door.answer(check_request([("authorization", f"Bearer {key}")]))
    ok = answer.ok_response
    assert headers_of(ok) == {"x-auth-would-deny": "unavailable"}
    assert "authorization" in ok.headers_to_remove
    assert door.probe.reports == [Reason.UNAVAILABLE]


async def test_a_bug_is_reported_where_the_request_was_read():
    """A decision that fails is a fault of ours. What could not be read is refused."""
    door = Door(enforce=False)

    def fail(_request):
        raise ValueError

    door.real._decide = fail
    answer = await door.answer(check_request())
    assert headers_of(answer.ok_response)["x-auth-would-deny"] == "unavailable"
    door.real._read = fail
    answer = await door.answer(check_request())
    assert answer.error_response.status.code == 503


def test_a_stale_refusal_is_reported_as_stale():
    """The mark of an outage stays."""
    answer = reported(StaleDeny(Reason.EXPIRED, KEY))
    assert headers_of(answer.ok_response)["x-auth-stale"] == "true"
    assert answer.dynamic_metadata["stale"] is True


def test_a_request_over_its_limit_is_reported_with_its_limits():
    """The caller sees how its limits stand, Envoy which one was violated."""
    key_limits = KeyLimits((LimitGroup(Owner.KEY, "k", limits("10/s")),), OnOutage.LOCAL)
    over = decide_by_limits(KEY, LimitResult(key_limits, (0,), (301,), (0,), 301))
    answer = reported(over)
    assert answer.status.code == 0
    assert headers_of(answer.ok_response)["x-auth-would-deny"] == "rate_limited"
    told_to_caller = {
        option.header.key: option.header.value
        for option in answer.ok_response.response_headers_to_add
    }
    assert told_to_caller == {
        "ratelimit-policy": '"second";q=10;w=1',
        "ratelimit": '"second";r=0;t=1',
    }
    assert answer.dynamic_metadata["violated"] == "second"
    assert answer.dynamic_metadata["report_only"] is True


ADMIN = Rule.parse("routes", "/admin/**", "", (), Facts(enforce=True))
BY_COST = Rule.parse("routes", "/pay/{n}", "", (), Facts(enforce=True), cost_variable="n")
ONLY_GET = Rule.parse("routes", "/get", "", ("GET",), Facts(enforce=True))
EARLY_REFUSALS = pytest.mark.parametrize(
    "message",
    [
        {"path": "/admin;x"},
        {"path": "//admin"},
        {"path": "/admin", "method": "delete"},
        {"path": "/admin", "host": "api.example.com:"},
        {"path": ""},
        {"path": "/get", "method": "POST", "headers": [("x-http-method-override", "GET")]},
        {"path": "/pay/much"},
    ],
    ids=str,
)


@EARLY_REFUSALS
async def test_a_rule_that_enforces_is_not_escaped_by_an_odd_request(message):
    """A request that is refused before its rule is known may be one for the rule that enforces."""
    rules = RouteTable([ADMIN, BY_COST, ONLY_GET])
    door = Door(enforce=False, rules=rules)
    answer = await door.answer(check_request(**message))
    assert answer.status.code != 0
    reported = await door.answer(check_request(**message, extensions={"enforce": "false"}))
    assert reported.status.code == 0


PAY = "/pay/{n}"
REFUSED_BY_A_RULE = [
    ("/pay/much", Rule.parse("", PAY, "", (), Facts(), cost_variable="n")),
    ("/x:y:z", Rule.parse("", "/{a}:{b}", "", (), Facts(frozenset({"s:{a}"})))),
]


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("own", [True, False, None])
@pytest.mark.parametrize(("path", "known"), REFUSED_BY_A_RULE, ids=["cost", "ambiguous"])
async def test_a_refusal_by_a_rule_is_enforced_as_the_rule_says(path, known, own, default):
    """The `enforce` of the rule that refuses counts, also if other rules enforce."""
    rule = replace(known, facts=replace(known.facts, enforce=own))
    door = Door(enforce=default, rules=RouteTable([ADMIN, rule]))
    answer = await door.answer(check_request(path=path))
    assert (answer.status.code != 0) is (default if own is None else own)


@pytest.mark.parametrize(("first", "enforced"), [(False, False), (True, True), (None, True)])
async def test_rules_that_cannot_hold_together_refuse_as_the_strictest_says(first, enforced):
    """Two environments in one request are a refusal of both rules."""
    rules = [
        Rule.parse("", "/{m}:run", "", (), Facts(env="live", enforce=first)),
        Rule.parse("", "/{m}", "", (), Facts(env="test", enforce=False)),
    ]
    answer = await Door(rules=RouteTable(rules)).answer(check_request(path="/a%3Arun"))
    assert (answer.status.code != 0) is enforced


@pytest.mark.parametrize(
    ("rule", "enforced"), [(None, True), (True, True), (False, False)], ids=str
)
async def test_a_disputed_method_is_refused_as_the_rules_of_its_methods_say(rule, enforced):
    """The strictest `enforce` of the methods that a request names counts."""
    known = [
        Rule.parse("", "/a", "", ("GET",), Facts(cost=2, enforce=rule)),
        Rule.parse("", "/a", "", ("POST",), Facts(enforce=False)),
    ]
    sent = {"headers": [("x-http-method-override", "GET")], "method": "POST", "path": "/a"}
    answer = await Door(rules=RouteTable([ADMIN, *known])).answer(check_request(**sent))
    assert (answer.status.code != 0) is enforced


async def test_a_route_of_the_proxy_that_enforces_is_not_escaped_by_an_odd_method():
    """The proxy found the route, so its word counts for a message that makes no sense."""
    message = check_request(method="delete", extensions={"enforce": "true"})
    assert (await Door(enforce=False).answer(message)).status.code != 0
