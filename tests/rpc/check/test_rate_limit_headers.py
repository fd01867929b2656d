"""Limits in responses: headers for the caller, metadata for Envoy."""

import json
from datetime import datetime

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from envoy.type.v3.ratelimit_unit_pb2 import RateLimitUnit
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision import Allow, OverLimit, Reason, StaleOverLimit, decide_by_limits
from authz.core.limits.charge import SpendReply, charge_for, limit_result
from authz.core.limits.counters import BurstCounter
from authz.core.limits.key_limits import KeyLimits, LimitGroup, LimitResult, Owner
from authz.core.limits.limit import OnOutage
from tests.support.fakes import NOW, make_record, make_request
from tests.support.limits import any_limits, limits
from tests.support.rpc.answers import arm, headers_of, responder, told
from tests.support.rpc.structured import parse

KEY = make_record(plan="standard")


def terms_of(*texts, project=()):
    """Limits of a key, and of its project."""
    accounts = [LimitGroup(Owner.KEY, "k", limits(*texts))] if texts else []
    accounts += [LimitGroup(Owner.PROJECT, "p", limits(*project))] if project else []
    return KeyLimits(tuple(accounts), OnOutage.LOCAL)


def headers_to_caller(answer):
    """The headers for the caller, of an allow or a denial."""
    if answer.HasField("ok_response"):
        pairs = answer.ok_response.response_headers_to_add
        return {option.header.key: option.header.value for option in pairs}
    return headers_of(arm(answer))


def metadata(answer):
    """The dynamic metadata as plain values."""
    return MessageToDict(answer.dynamic_metadata)


TERMS = terms_of("10/s", "1000000/month@15", "try=5/s,enforce=false", project=("300/min",))
ALLOWED = LimitResult(TERMS, (9, 999_999, 4, 299), (1000, 1_234_567, 1000, 60_000))
MARKED = LimitResult(TERMS, (8, 999_998, 0, 298), (1000, 1_234_000, 700, 60_000), (2,))
LIMITED = LimitResult(TERMS, (0, 999_990, 0, 290), (301, 1_230_000, 301, 60_000), (0, 2), 301)
EXHAUSTED = LimitResult(TERMS, (3, 0, 1, 0), (1000, 1_229_001, 1000, 2500), (1, 3), 1_229_001)
NEVER = LimitResult(terms_of("10/s"), (10,), (1000,), (0,), None)


def test_an_allowed_request():
    """Policies and what is left of them to the caller, all limits to Envoy."""
    answer = told(decide_by_limits(KEY, ALLOWED))

    assert answer.status.code == 0
    assert headers_to_caller(answer) == {
        "ratelimit-policy": '"second";q=10;w=1, "month";q=1000000;w=2678400, '
        '"project:minute";q=300;w=60',
        "ratelimit": '"second";r=9;t=1, "month";r=999999;t=1235, "project:minute";r=299;t=60',
    }
    found = metadata(answer)
    assert found["limits"] == {
        "second": {"requests_per_unit": 10, "unit": "SECOND"},
        "month": {"requests_per_unit": 1_000_000, "unit": "MONTH"},
        "try": {"requests_per_unit": 5, "unit": "SECOND"},
        "project:minute": {"requests_per_unit": 300, "unit": "MINUTE"},
    }
    assert found["remaining"] == {"second": 9, "month": 999_999, "try": 4, "project:minute": 299}
    assert found["plan"] == "standard"
    assert not found.keys() & {"violated", "would_deny"}


def test_the_backend_is_not_told():
    """The headers of limits go to the caller, not upstream."""
    ok = told(decide_by_limits(KEY, ALLOWED)).ok_response

    assert not [name for name in headers_of(ok) if "ratelimit" in name]


def test_a_limit_that_is_not_enforced_is_marked():
    """A request over such a limit passes. The operator sees it, the caller does not."""
    answer = told(decide_by_limits(KEY, MARKED))

    assert answer.status.code == 0
    assert metadata(answer)["would_deny"] == "try"
    assert "try" not in str(headers_to_caller(answer))


@pytest.mark.parametrize(
    ("spent", "code", "violated", "retry_after", "ratelimit"),
    [
        (
            LIMITED,
            "rate_limited",
            ["second"],
            "1",
            '"second";r=0;t=1, "month";r=999990, "project:minute";r=290',
        ),
        (
            EXHAUSTED,
            "quota_exceeded",
            ["month", "project:minute"],
            "1230",
            '"second";r=3, "month";r=0;t=1230, "project:minute";r=0;t=3',
        ),
        (NEVER, "rate_limited", ["second"], None, '"second";r=10'),
    ],
)
def test_a_refused_request(spent, code, violated, retry_after, ratelimit):
    """429, which policies refused, and when it would pass: never too early, and if ever."""
    decision = decide_by_limits(KEY, spent)
    answer = told(decision, make_request(headers={"x-request-id": "id-1"}))

    assert answer.status.code == 8
    assert arm(answer).status.code == 429
    headers = headers_to_caller(answer)
    assert headers.get("retry-after") == retry_after
    assert headers["ratelimit"] == ratelimit
    assert "ratelimit-policy" in headers
    body = json.loads(arm(answer).body)
    assert (body["code"], body["violated-policies"]) == (code, violated)
    assert all(name in body["detail"] for name in violated)
    assert body["request_id"] == "id-1"
    found = metadata(answer)
    assert (found["reason"], found["violated"]) == (code, " ".join(violated))
    assert ("would_deny" in found) is (2 in spent.violated)


def test_a_grpc_caller_reads_which_limit_it_was():
    """The text becomes the message, and the headers are the same."""
    answer = told(
        decide_by_limits(KEY, LIMITED), make_request(headers={"content-type": "application/grpc"})
    )

    assert arm(answer).body == "A rate limit of this API key is used up: second."
    assert headers_to_caller(answer)["retry-after"] == "1"


def test_a_refusal_in_an_outage_says_so():
    """A limit is kept in an outage, too, and Envoy is told that it was one."""
    assert metadata(told(decide_by_limits(KEY, LIMITED, stale=True)))["stale"] is True
    assert "stale" not in metadata(told(decide_by_limits(KEY, LIMITED)))
    stale = told(decide_by_limits(KEY, ALLOWED, stale=True))
    assert headers_of(stale.ok_response)["x-auth-stale"] == "true"
    assert "ratelimit" in headers_to_caller(stale)


@pytest.mark.parametrize(
    ("spent", "limit", "remaining", "reset"),
    [
        (ALLOWED, "10", "9", "1"),
        (LIMITED, "10", "0", "1"),
        (EXHAUSTED, "1000000", "0", "1230"),
    ],
)
def test_legacy_headers(spent, limit, remaining, reset):
    """The older three are about one limit: the one that a caller has to mind most."""
    headers = headers_to_caller(told(decide_by_limits(KEY, spent), legacy_headers=True))

    assert headers["x-ratelimit-limit"] == limit
    assert headers["x-ratelimit-remaining"] == remaining
    assert headers["x-ratelimit-reset"] == reset
    assert "x-ratelimit-limit" not in headers_to_caller(told(decide_by_limits(KEY, spent)))


def test_a_key_whose_limits_are_not_enforced_is_told_of_none():
    """No header is empty."""
    terms = terms_of("10/s,enforce=false")
    for legacy in (True, False):
        answer = told(
            decide_by_limits(KEY, LimitResult(terms, (9,), (1000,), (0,))), legacy_headers=legacy
        )

        assert headers_to_caller(answer) == {}
        assert metadata(answer)["would_deny"] == "second"


def test_a_limit_beyond_what_envoy_can_hold():
    """An override has 32 bits; more is as much as it can say."""
    answer = told(
        decide_by_limits(KEY, LimitResult(terms_of("1000000000000/month"), (5,), (1000,)))
    )

    assert metadata(answer)["limits"]["month"]["requests_per_unit"] == (1 << 32) - 1
    assert '"month";q=1000000000000;' in headers_to_caller(answer)["ratelimit-policy"]


def test_other_terms_of_the_same_key_are_told_anew():
    """A key whose limits changed gets headers of the new ones."""
    writer = responder()
    for texts in (("10/s",), ("20/s", "5/min")):
        for _ in range(2):
            terms = terms_of(*texts)
            size = len(texts)
            spent = LimitResult(terms, (3,) * size, (1000,) * size)
            raw = writer.write(decide_by_limits(KEY, spent), make_request())
            found = parse(headers_to_caller(CheckResponse.FromString(raw))["ratelimit-policy"])
            assert [policy["q"] for policy in found.values()] == [
                limit.limit for limit in terms.limits
            ]


@st.composite
def any_spent(draw):
    """Any result of a request, allowed or not."""
    own = draw(any_limits())
    project = draw(any_limits() if own else any_limits().filter(bool))
    tenant = draw(st.just(()) | any_limits())
    accounts = [
        LimitGroup(owner, "x", found)
        for owner, found in zip(Owner, (own, project, tenant), strict=True)
        if found
    ]
    terms = KeyLimits(tuple(accounts), OnOutage.LOCAL)
    indices = range(len(terms.limits))
    violated = draw(st.sets(st.sampled_from(indices)))
    resets = tuple(draw(st.integers(1, 10**10)) for _ in indices)
    waits = [resets[i] for i in violated if terms.limits[i].enforce]
    return LimitResult(
        terms,
        tuple(draw(st.integers(0, limit.limit)) for limit in terms.limits),
        resets,
        tuple(sorted(violated)),
        draw(st.none() | st.just(max(waits))) if waits else 0,
    )


@given(any_spent(), st.booleans())
def test_headers_are_structured_fields_that_agree(spent, legacy):
    """Any answer's two fields parse, name the same policies, and Retry-After is the later time."""
    decision = decide_by_limits(KEY, spent)
    answer = told(decision, legacy_headers=legacy)
    headers = headers_to_caller(answer)
    enforced = [i for i, limit in enumerate(spent.key_limits.limits) if limit.enforce]
    if not enforced:
        assert isinstance(decision, Allow)
        assert headers == {}
        return
    policies, state = parse(headers["ratelimit-policy"]), parse(headers["ratelimit"])

    assert policies.keys() == state.keys() == {spent.key_limits.names[i] for i in enforced}
    assert [item["r"] for item in state.values()] == [spent.remaining[i] for i in enforced]
    assert all(item.get("t", 1) >= 0 for item in state.values())
    if isinstance(decision, OverLimit) and spent.retry_after_ms is not None:
        wait = int(headers["retry-after"])
        assert wait * 1000 >= spent.retry_after_ms > (wait - 1) * 1000
        assert all(wait >= item.get("t", 0) for item in state.values())
    else:
        assert "retry-after" not in headers


@given(any_spent())
def test_metadata_is_what_envoy_takes(spent):
    """Each limit but credits is an override of Envoy's. What remains has the same names."""
    found = metadata(told(decide_by_limits(KEY, spent)))

    named = dict(zip(spent.key_limits.names, spent.key_limits.limits, strict=True))
    assert found["remaining"].keys() == named.keys()
    assert found["limits"].keys() == {n for n, one in named.items() if not one.never_resets}
    assert list(map(found["remaining"].get, spent.key_limits.names)) == list(spent.remaining)
    for override in found["limits"].values():
        assert override.keys() == {"requests_per_unit", "unit"}
        assert RateLimitUnit.Value(override["unit"]) > 0
        assert 0 < override["requests_per_unit"] < 1 << 32


def test_one_writer_tells_each_refusal_for_itself():
    """A template is not used for other limits, for a gRPC caller, or for another key."""
    writer, others = responder(), make_record(kid="o" * 16, plan="standard")
    cases = [
        (made, key, spent, kind)
        for made in (OverLimit, StaleOverLimit)
        for key in (KEY, others)
        for spent in (LIMITED, EXHAUSTED, NEVER)
        for kind in ("", "application/grpc")
    ]
    for made, key, spent, kind in cases * 2:
        decision = made(Reason.RATE_LIMITED, key, spent)
        request = make_request(headers={"content-type": kind, "x-request-id": "one"})
        answers = [
            CheckResponse.FromString(w.write(decision, request)) for w in (writer, responder())
        ]
        for answer in answers:
            assert answer.dynamic_metadata["charge_id"]
            del answer.dynamic_metadata["charge_id"]
        assert answers[0] == answers[1]


def at(text):
    """Return a time in UTC, in milliseconds since the epoch."""
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


def test_the_length_of_the_current_period():
    """A window of a policy is as long as the period of that time, month after month."""
    writer = responder()
    terms = terms_of("10/s", "5/month", "a=5/calendar-day,zone=Europe/Berlin", "7/week", "9/year")
    for day, lengths in (
        ("2026-02-10", (28, 24, 365)),
        ("2026-03-29", (31, 23, 365)),
        ("2026-10-25T12:00", (31, 25, 365)),
        ("2028-02-29", (29, 24, 366)),
    ):
        charge = charge_for(terms, 1, at(day))
        reply = SpendReply(1, at(day) * 1000, (4,) * 5, (0,) * 5)
        month, hours, year = lengths
        for result in (limit_result(charge, reply), limit_result(charge, replace_waits(reply))):
            raw = writer.write(decide_by_limits(KEY, result), make_request())
            policies = headers_to_caller(CheckResponse.FromString(raw))["ratelimit-policy"]
            found = [policy["w"] for policy in parse(policies).values()]
            assert found == [1, month * 86_400, hours * 3600, 604_800, year * 86_400]


def replace_waits(reply):
    """Return the reply with a first limit that has no room."""
    return reply._replace(granted=0, left=(0, *reply.left[1:]), waits_us=(1000, 0, 0, 0, 0))


def test_a_token_bucket():
    """Its quota is the burst, and its window the time in which the burst refills."""
    terms = terms_of("50/s,burst=120")
    charge = charge_for(terms, 1, NOW)
    assert [type(counter) for counter in charge.counters] == [BurstCounter]
    result = limit_result(charge, SpendReply(1, NOW * 1000, (119,), (0,)))
    headers = headers_to_caller(told(decide_by_limits(KEY, result)))
    assert headers["ratelimit-policy"] == '"second";q=120;w=3'
    assert headers["ratelimit"] == '"second";r=119;t=1'


def test_a_weekly_limit_has_no_override():
    """Envoy has no unit for a week, so the metadata names only the units that are left."""
    answer = told(decide_by_limits(KEY, LimitResult(terms_of("7/week", "9/year"), (5, 6), (1, 1))))
    assert metadata(answer)["limits"] == {"year": {"requests_per_unit": 9, "unit": "YEAR"}}
    assert metadata(answer)["remaining"] == {"week": 5, "year": 6}


CREDITS = terms_of("10/s", "500/once")
FAR = 5_000_000_000_000


def test_credits_have_no_window_and_no_reset():
    """Credits have neither `w` nor `t`, and Envoy gets no unit of theirs."""
    result = LimitResult(CREDITS, (9, 499), (1000, FAR), windows=(1, 0))
    answer = told(decide_by_limits(KEY, result), legacy_headers=True)
    headers = headers_to_caller(answer)
    assert headers["ratelimit-policy"] == '"second";q=10;w=1, "credits";q=500'
    assert headers["ratelimit"] == '"second";r=9;t=1, "credits";r=499'
    assert parse(headers["ratelimit"]) == {"second": {"r": 9, "t": 1}, "credits": {"r": 499}}
    assert metadata(answer)["limits"] == {"second": {"requests_per_unit": 10, "unit": "SECOND"}}
    assert metadata(answer)["remaining"] == {"second": 9, "credits": 499}


def test_used_up_credits_refuse_as_a_quota_without_a_time():
    """No header of the refusal says when to come again."""
    result = LimitResult(CREDITS, (9, 0), (1000, FAR), (1,), None, (1, 0))
    answer = told(decide_by_limits(KEY, result), legacy_headers=True)
    headers = headers_to_caller(answer)
    assert headers["ratelimit"] == '"second";r=9, "credits";r=0'
    assert headers["x-ratelimit-limit"] == "500"
    assert not headers.keys() & {"retry-after", "x-ratelimit-reset"}
    body = json.loads(arm(answer).body)
    assert (body["code"], body["violated-policies"]) == ("quota_exceeded", ["credits"])
