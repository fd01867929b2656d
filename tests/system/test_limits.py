"""Limits through a real Envoy, as a client sees them."""

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from authz.core.limits.credits import parse_credits_change
from authz.core.limits.limit import OnOutage
from authz.core.records import KeyRecord
from tests.support.limits import limits
from tests.support.rpc.structured import parse
from tests.support.stalls import conclusive
from tests.support.system import Installation, await_line, readiness, running, until

SETTINGS = {
    "AUTHZ_PLANS": '{"standard": ["60/min", "1000/h"]}',
    "AUTHZ_POOLS": '{"projects": {"shop": ["6/h"]}}',
    "AUTHZ_LIMITS__LEGACY_HEADERS": "true",
    "AUTHZ_ROUTES": '[{"path": "/dear", "cost": 4}, {"path": "/free", "cost": 0}]',
    "AUTHZ_OUTAGE__GRACE": "60s",
}


@dataclass
class Seen:
    """An answer to a client."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def left(self) -> dict[str, int]:
        """Return the remaining units of each limit, by name."""
        return {name: item["r"] for name, item in parse(self.headers["ratelimit"]).items()}


def get(installation: Installation, key: str | None, path: str = "/") -> Seen:
    """Send a GET to Envoy on a new connection."""
    place = urlsplit(installation.stack.envoy).netloc
    with closing(http.client.HTTPConnection(place, timeout=10)) as connection:
        connection.request("GET", path, headers={"x-api-key": key or ""})
        answer = connection.getresponse()
        body = answer.read()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return Seen(answer.status, headers, json.loads(body) if body.startswith(b"{") else {})


def update(installation: Installation, record: KeyRecord, **wanted: Any) -> KeyRecord:
    """Change a key."""
    return installation.administer(
        lambda life: life.update(record.kid, wanted, life.author("tests"))
    ).record


@pytest.fixture(scope="module")
def limited(transport: str) -> Iterator[Installation]:
    """An installation with a plan, a pool, and routes with a cost of 4 and 0."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in SETTINGS.items():
            environment.setenv(name, value)
        with running() as (stack, _):
            yield Installation(stack)


def test_headers_on_the_way_and_429_at_the_end(limited: Installation) -> None:
    """The remaining units count down to 0. Then the answer is 429 with Retry-After and problem
    details.
    """
    key = limited.issue(limits=limits("3/h")).key_text

    seen = [get(limited, key) for _ in range(5)]

    assert [answer.status for answer in seen] == [200, 200, 200, 429, 429]
    assert [answer.left["hour"] for answer in seen] == [2, 1, 0, 0, 0]
    for answer in seen:
        assert parse(answer.headers["ratelimit-policy"]) == {"hour": {"q": 3, "w": 3600}}
        assert answer.headers["x-ratelimit-limit"] == "3"
    refused = seen[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.body["code"] == "rate_limited"
    assert refused.body["violated-policies"] == ["hour"]
    wait = int(refused.headers["retry-after"])
    assert 3500 < wait <= 3672
    assert parse(refused.headers["ratelimit"])["hour"]["t"] == wait
    assert not [name for name in seen[0].body.get("headers", {}) if "ratelimit" in name.lower()]


def test_a_request_that_comes_back_when_it_was_told_passes(limited: Installation) -> None:
    """A request after Retry-After is allowed."""
    key = ""

    def twice() -> Seen:
        nonlocal key
        key = limited.issue(limits=limits("1/s")).key_text
        assert get(limited, key).status == 200
        return get(limited, key)

    refused = conclusive(twice, lambda seen: seen.status == 429)
    assert refused.status == 429

    time.sleep(int(refused.headers["retry-after"]))

    assert get(limited, key).status == 200


def test_a_plan_a_quota_and_a_pool_together(limited: Installation) -> None:
    """Keys of a project share its pool, and a quota has another code than a rate."""
    first = limited.issue(plan="standard", project_id="shop").key_text
    second = limited.issue(limits=limits("5/month"), project_id="shop").key_text

    assert get(limited, first).left == {"minute": 59, "hour": 999, "project:hour": 5}
    assert get(limited, second).left == {"month": 4, "project:hour": 4}
    assert get(limited, second, "/dear").left == {"month": 0, "project:hour": 0}
    by_quota, by_pool = get(limited, second), get(limited, first)
    assert (by_quota.status, by_quota.body["code"]) == (429, "quota_exceeded")
    assert by_quota.body["violated-policies"] == ["month", "project:hour"]
    assert (by_pool.status, by_pool.body["code"]) == (429, "rate_limited")
    assert by_pool.body["violated-policies"] == ["project:hour"]
    assert by_pool.left["minute"] == 59  # what was refused took nothing


def test_costs(limited: Installation) -> None:
    """A route takes its cost, cost 0 takes nothing, and a cost above the limit never passes."""
    key = limited.issue(limits=limits("6/h")).key_text
    cheap = limited.issue(limits=limits("3/h")).key_text

    assert get(limited, key, "/dear").left["hour"] == 2
    assert get(limited, key, "/free").status == 200
    assert get(limited, key, "/dear").status == 429
    assert get(limited, key).left["hour"] == 1
    never = get(limited, cheap, "/dear")
    assert never.status == 429
    assert "retry-after" not in never.headers


def test_keys_without_limits_and_nobody_are_told_of_none(limited: Installation) -> None:
    """Without limits there are no rate limit headers."""
    for key in (limited.stack.key, None):
        assert not [name for name in get(limited, key).headers if "ratelimit" in name]


def test_other_limits_and_a_reset_hold_at_once(limited: Installation) -> None:
    """A changed limit and a reset end an earlier refusal at once."""
    issued = limited.issue(limits=limits("1/h"))
    key, record = issued.key_text, issued.record

    def passes() -> bool:
        return get(limited, key).status == 200

    assert passes()
    assert not passes()
    update(limited, record, limits=limits("2/h"))
    until(passes, bool)
    until(passes, lambda passed: not passed)
    limited.administer(lambda life: life.reset_limits(record.kid, life.author("tests")))
    until(passes, bool)


def test_what_is_not_enforced_passes_and_is_in_the_access_log(limited: Installation) -> None:
    """A limit with enforce=false allows, and the access log names it."""
    issued = limited.issue(limits=limits("try=1/h,enforce=false"))
    log = Path(limited.stack.config).parent / "envoy.log"

    seen = [get(limited, issued.key_text, f"/shadow-{number}") for number in range(2)]

    assert [answer.status for answer in seen] == [200, 200]
    assert "ratelimit" not in seen[1].headers
    entry = json.loads(await_line(log, "/shadow-1"))
    assert entry["would_deny"] == "try"
    assert entry["key_id"] == issued.record.kid


def test_in_an_outage_a_key_goes_by_its_word(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an outage the key's on_outage decides: local limits, allow or 503."""
    monkeypatch.setenv("AUTHZ_OUTAGE__GRACE", "60s")
    with running() as (stack, _):
        own = Installation(stack)
        keys = {
            word: own.issue(limits=limits("3/h"), on_outage=word).key_text
            for word in (None, OnOutage.ALLOW, OnOutage.DENY)
        }
        assert {get(own, key).status for key in keys.values()} == {200}

        os.kill(stack.pids["store"], signal.SIGKILL)
        until(lambda: readiness(own)["components"]["store"]["trusted"], lambda is_so: not is_so)
        seen = {word: [get(own, key).status for _ in range(4)] for word, key in keys.items()}

    assert seen == {
        None: [200, 200, 429, 429],
        OnOutage.ALLOW: [200] * 4,
        OnOutage.DENY: [503] * 4,
    }


def test_credits_until_they_are_refilled(limited: Installation) -> None:
    """Credits pass one by one and are then refused without a time, until a refill."""
    issued = limited.issue(limits=limits("3/once"))
    key = issued.key_text

    seen = [get(limited, key) for _ in range(4)]
    assert [answer.status for answer in seen] == [200, 200, 200, 429]
    assert [answer.left["credits"] for answer in seen] == [2, 1, 0, 0]
    refused = seen[-1]
    assert (refused.body["code"], refused.body["violated-policies"]) == (
        "quota_exceeded",
        ["credits"],
    )
    assert refused.headers["ratelimit-policy"] == '"credits";q=3'
    assert refused.headers["ratelimit"] == '"credits";r=0'
    assert not refused.headers.keys() & {"retry-after", "x-ratelimit-reset"}

    more = parse_credits_change("credits", "+2")
    limited.administer(
        lambda life: life.update(issued.record.kid, {}, life.author("tests"), credits_change=more)
    )
    until(lambda: get(limited, key).status, lambda status: status == 200)
    assert [get(limited, key).status for _ in range(2)] == [200, 429]
