"""Reports of leaked keys over HTTP, on a real store: signatures, policy, repeats and bounds."""

import asyncio
import json
from collections import Counter

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authz.console.http_api import HttpApi
from authz.console.leak_reports import (
    CHECKS_PER_SECOND,
    GITHUB,
    LARGE_PER_SECOND,
    MAX_BODY,
    SIGNED,
    SMALL_BODY,
)
from authz.core.errors import Unavailable
from authz.core.http_exchange import HttpRequest
from authz.core.leaks import MAX_ENTRIES
from authz.core.new_keys import KeySpec
from authz.core.notifications.bodies import signing_secret, webhook_headers
from authz.core.records import Status
from authz.flows.lifecycle import Lifecycle
from authz.settings.model import load
from authz.storage import schema
from authz.storage.meta import KnownPeppers
from authz.storage.trail import StoredRows
from authz.wiring import leak_reports
from authz.wiring.store_parts import StoreParts
from tests.identity.test_github_keys import Server, key_list, signature
from tests.support.fakes import FakeClock, make_keyring
from tests.support.storage import stored
from tests.support.storage.partitioned import parts_of

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RING = make_keyring()


class Rig:
    """Endpoints on a real store, with GitHub's keys in memory."""

    def __init__(self, parts, directory, monkeypatch, theirs=None, **leaks):
        self.clock, self.counts = FakeClock(), Counter()
        self.keys, count = parts.keys, parts.partitions.count
        self.ring = RING
        if count > 1:
            self.ring = make_keyring()
            self.ring.partitions = parts.partitions
        self.rows = StoredRows(parts.clients[0])
        self.lifecycle = Lifecycle(self.keys, self.ring, self.clock)
        (directory / "secret").write_text(SECRET)
        flags = {"leaks": {"github": True, "secret_file": str(directory / "secret")} | leaks}
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.github = Server(key_list(a=self.key))
        monkeypatch.setattr(leak_reports, "located", lambda _client, _url: self.github.fetch)
        self.endpoints = leak_reports.leak_endpoints(
            load(None, flags, {}),
            parts,
            ring=self.ring,
            peppers=KnownPeppers(theirs or RING.fingerprints, RING.fingerprints),
            notes=self.rows,
            clock=self.clock,
            counts=self.counts,
        )

    async def issue(self, env="live"):
        """Issue a key, and return its kid and its text."""
        spec = KeySpec(client_id="acme-web", env=env, life_ms=None)
        changed = await self.lifecycle.issue(spec, self.lifecycle.author("tests"))
        return changed.record.kid, changed.key_text

    async def issue_for(self, client_id):
        """Issue a key of a client, and return its kid and its text."""
        spec = KeySpec(client_id=client_id, env="live", life_ms=None)
        changed = await self.lifecycle.issue(spec, self.lifecycle.author("tests"))
        return changed.record.kid, changed.key_text

    async def issue_public(self):
        """Issue a publishable key, and return its kid and its text."""
        origins = ("https://app.example.com",)
        spec = KeySpec(
            client_id="web", env="live", life_ms=None, public=True, allowed_origins=origins
        )
        changed = await self.lifecycle.issue(spec, self.lifecycle.author("tests"))
        return changed.record.kid, changed.key_text

    async def status(self, kid):
        """Return the status of a key."""
        return (await self.keys.find(kid)).status

    async def by_github(self, *entries, **headers):
        """Send a report as GitHub does. Return the status and the document of the answer."""
        body = json.dumps(list(entries)).encode()
        given = {
            "github-public-key-identifier": "a",
            "github-public-key-signature": signature(self.key, body),
        } | {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.post(GITHUB, body, given)

    async def signed(self, *entries, report="1", age=0):
        """Send a report that is signed by the secret."""
        body = json.dumps(list(entries)).encode()
        seconds = self.clock.wall_ms() // 1000 - age
        headers = webhook_headers(report, body, [signing_secret(SECRET)], seconds)
        return await self.post(SIGNED, body, headers)

    async def post(self, path, body, headers):
        """Send a request."""
        request = HttpRequest("POST", path, (), tuple(headers.items()), body)
        answer = await self.endpoints[path].respond(request)
        return answer.status, json.loads(answer.body)

    async def trail(self):
        """Return action and detail of each row."""
        rows = await self.rows.after("", 1000)
        return [
            (r.fields["action"], r.fields["actor"], json.loads(r.fields["detail"])) for r in rows
        ]


@pytest.fixture
async def rig(valkey, tmp_path, monkeypatch):
    """Endpoints with the default policy."""
    async with valkey.endpoint.client() as client:
        yield Rig(StoreParts.of_one(client), tmp_path, monkeypatch)


async def test_keys_of_several_partitions(valkey, tmp_path, monkeypatch):
    """Each key is revoked in its partition. The first one remembers the report, and how many."""
    async with parts_of(valkey) as parts:
        rig = Rig(parts, tmp_path, monkeypatch, max_per_hour=5)
        made = [await rig.issue_for(f"c{number}") for number in range(6)]
        assert len({parts.partitions.of(kid) for kid, _ in made}) > 2
        entries = [{"token": text, "type": "authz_key", "url": ""} for _, text in made]
        assert (await rig.by_github(*entries))[0] == 200
        assert (await rig.by_github(*entries[:5]))[0] == 200
        assert (await rig.by_github(*entries[:5]))[0] == 409  # it was carried out
        revoked = [await rig.status(kid) is Status.REVOKED for kid, _ in made]
        assert revoked == [True] * 5 + [False]
        names = [client.names for client in parts.clients]
        assert [valkey.admin.exists(one.leaked) for one in names] == [1] + [0] * 7


async def test_github_reports_a_key(rig):
    """The key is revoked, the answer has a label, and the trail has the URL."""
    kid, text = await rig.issue()
    url = "https://github.com/acme/app/blob/1/.env"
    entry = {"token": text, "type": "authz_key", "url": url, "source": "commit"}
    status, answer = await rig.by_github(entry, {"token": "no key", "type": "authz_key"})
    assert (status, await rig.status(kid)) == (200, Status.REVOKED)
    assert [one["label"] for one in answer] == ["true_positive", "false_positive"]
    (_, revoke, leak) = await rig.trail()
    assert revoke == ("revoke", "leaks/github", {"reason": "key_compromise"})
    detail = {"key": kid, "done": "revoked", "where": url, "found_in": "commit"}
    assert leak == ("leak", "leaks/github", detail)


async def test_a_publishable_key_is_no_leak(rig, valkey):
    """A reported publishable key works on, is answered false_positive, and leaves no row.

    The same holds if its record cannot be read: the text says that it is publishable.
    """
    kid, text = await rig.issue_public()
    broken, of_broken = await rig.issue_public()
    valkey.admin.hset(stored.key(broken), "status", "garbled")

    status, answer = await rig.by_github({"token": text}, {"token": of_broken})
    assert (status, await rig.status(kid)) == (200, Status.ACTIVE)
    assert [one["label"] for one in answer] == ["false_positive", "false_positive"]
    assert [action for action, *_ in await rig.trail()] == ["issue", "issue"]


async def test_a_signed_report(rig):
    """A report with the signature of Standard Webhooks is carried out."""
    kid, text = await rig.issue()
    status, _ = await rig.signed({"token": text, "url": "https://pastebin.example.com/1"})
    assert (status, await rig.status(kid)) == (200, Status.REVOKED)


async def test_unsigned_reports_are_refused(rig):
    """A report without a right signature changes nothing and tells nothing."""
    kid, text = await rig.issue()
    entry = {"token": text}
    body = json.dumps([entry]).encode()
    for status, answer in (
        await rig.by_github(entry, github_public_key_signature=""),
        await rig.by_github(entry, github_public_key_identifier=""),
        await rig.by_github(entry, github_public_key_identifier="b"),
        await rig.by_github(entry, github_public_key_signature=signature(rig.key, b"[]")),
        await rig.post(GITHUB, body, {}),
        await rig.post(SIGNED, body, {}),
        await rig.post(SIGNED, body, webhook_headers("1", body, [b"x" * 32], 1)),
        await rig.signed(entry, age=301),
        await rig.signed(entry, age=-301),
        await rig.signed(entry, report=""),
    ):
        assert (status, answer["status"]) == (401, 401)
    assert await rig.status(kid) is Status.ACTIVE


async def test_replayed_reports_are_refused(rig):
    """A report is carried out once, also if a person has enabled the key since."""
    _, text = await rig.issue()
    assert (await rig.by_github({"token": text}))[0] == 200
    assert (await rig.by_github({"token": text}))[0] == 409
    assert (await rig.signed({"token": text}))[0] == 200
    assert (await rig.signed({"token": text}))[0] == 409
    assert (await rig.signed({"token": text}, report="2"))[0] == 200
    assert [action for action, *_ in await rig.trail()].count("revoke") == 1


async def test_another_report_with_the_same_id(rig):
    """Two scanners that both count their reports from 1 save no key from being revoked."""
    made = [await rig.issue() for _ in range(2)]
    for kid, text in made:
        assert (await rig.signed({"token": text}, report="1"))[0] == 200
        assert await rig.status(kid) is Status.REVOKED
        assert (await rig.signed({"token": text}, report="1"))[0] == 409


async def test_huge_and_garbled_reports_are_refused(rig):
    """Size comes before the signature, the form after it."""
    assert (await rig.post(GITHUB, b"x" * (MAX_BODY + 1), {}))[0] == 413
    assert (await rig.by_github())[0] == 400
    assert (await rig.by_github(1))[0] == 400
    answer = await rig.endpoints[GITHUB].respond(HttpRequest("GET", GITHUB))
    assert answer.status == 405


async def test_tokens_of_any_characters(rig):
    """A token that is no text of ours is a false positive, also half of a surrogate pair."""
    status, answer = await rig.by_github(*({"token": text} for text in ("\ud800", "é", "\x00")))
    assert (status, {one["label"] for one in answer}) == (200, {"false_positive"})


async def test_a_flood_is_refused(rig):
    """Beyond 1,000 small and 50 large reports a second no signature is checked."""
    found = [(await rig.post(GITHUB, b"[]", {}))[0] for _ in range(CHECKS_PER_SECOND + 5)]
    assert found.count(429) == 5
    assert rig.github.fetches <= 1


async def test_a_flood_of_large_reports_leaves_small_ones_alone(rig):
    """Strangers who send large bodies cannot keep the report of a leaked key out."""
    kid, text = await rig.issue()
    large = b" " * (SMALL_BODY + 1)
    found = [(await rig.post(GITHUB, large, {}))[0] for _ in range(LARGE_PER_SECOND + 5)]
    assert found.count(429) == 5
    assert (await rig.by_github({"token": text}))[0] == 200
    assert await rig.status(kid) is Status.REVOKED


async def test_a_report_of_ten_thousand_tokens(rig):
    """All of them are looked at, the same key twice included. One more is refused, and logged."""
    kid, text = await rig.issue()
    others = [{"token": f"t{number}"} for number in range(MAX_ENTRIES - 2)]
    status, answer = await rig.signed({"token": text}, *others, {"token": text})
    assert (status, await rig.status(kid)) == (200, Status.REVOKED)
    assert [one["label"] for one in answer].count("true_positive") == 2
    assert [action for action, *_ in await rig.trail()].count("revoke") == 1


async def test_a_signed_report_that_is_refused_is_logged(rig, caplog):
    """The keys in it stay valid, so somebody has to know."""
    assert (await rig.signed({"no": "token"}, report="2"))[0] == 400
    assert "a signed report of report is refused: an entry has no token" in caplog.text
    caplog.clear()
    assert (await rig.post(SIGNED, b"[]", {}))[0] == 401
    assert caplog.text == ""


async def test_a_slow_report_is_refused(rig):
    """A body that does not arrive in time is answered 408."""
    sent = []

    async def receive():
        await asyncio.sleep(30)

    async def send(message):
        sent.append(message)

    app = HttpApi(rig.endpoints[GITHUB].respond, MAX_BODY, seconds=0.05)
    scope = {"type": "http", "method": "POST", "headers": [], "query_string": b"", "raw_path": b"/"}
    await app(scope | {"path": "/", "client": None}, receive, send)
    assert sent[0]["status"] == 408


async def test_the_policy_of_an_environment(valkey, tmp_path, monkeypatch):
    """Keys of an environment are revoked, disabled, or left as they are."""
    async with valkey.endpoint.client() as client:
        rig = Rig(StoreParts.of_one(client), tmp_path, monkeypatch, live="disable", test="notify")
        (live, one), (test, other) = await rig.issue("live"), await rig.issue("test")
        status, answer = await rig.by_github({"token": one}, {"token": other})
        assert (status, {row["label"] for row in answer}) == (200, {"true_positive"})
        assert await rig.status(live) is Status.DISABLED
        assert await rig.status(test) is Status.ACTIVE
        leaks = [detail for action, _, detail in await rig.trail() if action == "leak"]
        assert {(one["key"], one["done"]) for one in leaks} == {(live, "disabled"), (test, "noted")}


async def test_the_circuit_breaker(valkey, tmp_path, monkeypatch):
    """Beyond the bound of an hour keys keep working, and the trail says that they are held."""
    async with valkey.endpoint.client() as client:
        rig = Rig(StoreParts.of_one(client), tmp_path, monkeypatch, max_per_hour=3)
        made = [await rig.issue() for _ in range(5)]
        await rig.by_github(*({"token": text} for _, text in made))
        statuses = [await rig.status(kid) for kid, _ in made]
        assert statuses.count(Status.REVOKED) == 3
        held = [detail["key"] for _, _, detail in await rig.trail() if detail.get("done") == "held"]
        assert set(held) == {kid for kid, _ in made if await rig.status(kid) is Status.ACTIVE}
        places = valkey.admin.hgetall(schema.DEFAULT.leaked)
        an_hour_ago = {kid: int(at) - 3_601_000 for kid, at in places.items()}
        valkey.admin.hset(schema.DEFAULT.leaked, mapping=an_hour_ago)
        # The same report again: it is not over while keys are held.
        assert (await rig.by_github(*({"token": text} for _, text in made)))[0] == 200
        assert {await rig.status(kid) for kid, _ in made} == {Status.REVOKED}
        assert (await rig.by_github(*({"token": text} for _, text in made)))[0] == 409


async def test_a_key_that_nobody_can_rotate_opens_no_replay(valkey, tmp_path, monkeypatch):
    """Its policy has no target. The report is over, and disables no key that a person enabled."""
    async with valkey.endpoint.client() as client:
        rig = Rig(StoreParts.of_one(client), tmp_path, monkeypatch, live="rotate", test="disable")
        (kept, one), (ended, other) = await rig.issue("live"), await rig.issue("test")
        report = {"token": one}, {"token": other}
        assert (await rig.by_github(*report))[0] == 200
        assert await rig.status(ended) is Status.DISABLED
        done = {detail["key"]: detail["done"] for _, _, detail in (await rig.trail())[-2:]}
        assert done == {kept: "held", ended: "disabled"}
        await rig.lifecycle.enable(ended, rig.lifecycle.author("tests"))
        before = await rig.trail()
        assert (await rig.by_github(*report))[0] == 409
        assert (await rig.status(ended), await rig.trail()) == (Status.ACTIVE, before)


async def test_processes_whose_clocks_differ_share_the_bound(valkey, tmp_path, monkeypatch):
    """A process whose clock is 2 h ahead frees no place by its time, however often both report."""
    async with valkey.endpoint.client() as client:
        ahead, right = (
            Rig(StoreParts.of_one(client), tmp_path, monkeypatch, max_per_hour=2) for _ in range(2)
        )
        ahead.clock.jump_wall(2 * 3_600_000)
        made = [await right.issue() for _ in range(8)]
        for number in range(0, 8, 2):
            rig = (ahead, right)[number // 2 % 2]
            await rig.by_github(*({"token": text} for _, text in made[number : number + 2]))
        statuses = [await right.status(kid) for kid, _ in made]
        assert statuses.count(Status.REVOKED) == 2


async def test_a_record_that_cannot_be_read_saves_no_other_key(rig, valkey):
    """The other keys end and the trail has them all. The sender repeats the report for that one."""
    made = [await rig.issue() for _ in range(3)]
    broken = made[0][0]
    report = [{"token": text} for _, text in made]
    was = valkey.admin.hget(stored.key(broken), "status")
    valkey.admin.hset(stored.key(broken), "status", "garbled")
    assert (await rig.by_github(*report))[0] == 503
    assert {await rig.status(kid) for kid, _ in made[1:]} == {Status.REVOKED}
    done = {detail["key"]: detail["done"] for _, _, detail in await rig.trail() if "done" in detail}
    assert done == {broken: "held"} | {kid: "revoked" for kid, _ in made[1:]}
    valkey.admin.hset(stored.key(broken), "status", was)
    assert [(await rig.by_github(*report))[0] for _ in range(2)] == [200, 409]
    assert await rig.status(broken) is Status.REVOKED
    revoked = [row for row in await rig.trail() if row[0] == "revoke"]
    assert len(revoked) == len(made)  # each of them once


async def test_a_record_that_stays_unreadable_has_one_row(rig, valkey, caplog):
    """Each repetition is answered 503 and logged. The trail has one row for each key and place."""
    (broken, one), (_, other) = await rig.issue(), await rig.issue()
    report = {"token": one, "url": "a"}, {"token": one, "url": "b"}, {"token": other, "url": "a"}
    was = valkey.admin.hget(stored.key(broken), "status")
    valkey.admin.hset(stored.key(broken), "status", "garbled")
    assert (await rig.by_github(*report))[0] == 503
    rows, counts = await rig.trail(), dict(rig.counts)
    for _ in range(3):
        caplog.clear()
        assert (await rig.by_github(*report))[0] == 503
        assert f"key {broken} is not ended" in caplog.text
        assert (await rig.trail(), rig.counts) == (rows, counts)
    leaks = [detail for action, _, detail in rows if action == "leak"]
    assert [one["done"] for one in leaks] == ["held", "held", "revoked"]
    valkey.admin.hset(stored.key(broken), "status", was)
    assert [(await rig.by_github(*report))[0] for _ in range(2)] == [200, 409]
    later = (await rig.trail())[len(rows) :]
    assert [action for action, _, _ in later] == ["revoke", "leak", "leak"]
    assert {detail["done"] for action, _, detail in later if action == "leak"} == {"revoked"}


async def test_another_report_of_an_unreadable_record_has_its_own_row(rig, valkey):
    """A report knows only its own rows."""
    kid, text = await rig.issue()
    valkey.admin.hset(stored.key(kid), "status", "garbled")
    assert [(await rig.by_github({"token": text, "url": url}))[0] for url in "abab"] == [503] * 4
    leaks = [detail["where"] for action, _, detail in await rig.trail() if action == "leak"]
    assert leaks == ["a", "b"]


@pytest.mark.parametrize("live", ["disable", "rotate"])
async def test_a_replay_acts_on_no_key_again(valkey, tmp_path, monkeypatch, live):
    """While the circuit breaker holds one key, a person may enable the others."""
    async with valkey.endpoint.client() as client:
        rig = Rig(StoreParts.of_one(client), tmp_path, monkeypatch, max_per_hour=2, live=live)
        made = [await rig.issue("live") for _ in range(3)]
        report = [{"token": text} for _, text in made]
        assert (await rig.by_github(*report))[0] == 200
        acted, held = made[:2], made[2][0]
        for kid, _ in acted:
            if live == "disable":
                await rig.lifecycle.enable(kid, rig.lifecycle.author("tests"))
        before, counts = await rig.trail(), dict(rig.counts)
        status, labels = await rig.by_github(*report)
        assert (status, {one["label"] for one in labels}) == (200, {"true_positive"})
        assert (await rig.trail(), rig.counts) == (before, counts)
        valkey.admin.delete(schema.DEFAULT.leaked)  # an hour later
        assert [(await rig.by_github(*report))[0] for _ in range(2)] == [200, 409]
        assert [await rig.status(kid) for kid, _ in acted] == [Status.ACTIVE] * 2
        later = (await rig.trail())[len(before) :]
        named = {detail["key"] for action, _, detail in later if action == "leak"}
        assert named <= {held}
        assert (await rig.status(held) is Status.DISABLED) == (live == "disable")


@pytest.fixture
async def rigged(valkey, tmp_path, monkeypatch):
    """Return a function that makes endpoints with a policy. They have one store."""
    async with valkey.endpoint.client() as client:
        yield lambda **leaks: Rig(StoreParts.of_one(client), tmp_path, monkeypatch, **leaks)


def an_hour_later(valkey):
    """Free the places of the keys that were ended."""
    valkey.admin.delete(schema.DEFAULT.leaked)


async def leaks_since(rig, rows):
    """Return key and outcome of each leak in the trail behind so many rows."""
    later = (await rig.trail())[len(rows) :]
    return [(detail["key"], detail["done"]) for action, _, detail in later if action == "leak"]


async def test_a_replay_ends_a_key_that_was_noted_and_works_now(rigged, valkey):
    """A person had disabled it and has enabled it. A key that stays as it was gets no other row."""
    rig = rigged(max_per_hour=1, live="disable")
    (held, one), (first, other), (noted, third) = [await rig.issue() for _ in range(3)]
    still, fourth = await rig.issue()
    for kid in (noted, still):
        await rig.lifecycle.disable(kid, rig.lifecycle.author("tests"))
    report = [{"token": text} for text in (other, one, third, fourth)]
    assert (await rig.by_github(*report))[0] == 200
    assert (await rig.trail())[-1][2]["done"] == "noted"
    for kid in (noted, first):  # this report has disabled the first one
        await rig.lifecycle.enable(kid, rig.lifecycle.author("tests"))
    before = await rig.trail()
    assert (await rig.by_github(*report))[0] == 200
    assert await leaks_since(rig, before) == [(noted, "held")]
    for _ in range(2):
        an_hour_later(valkey)
        assert (await rig.by_github(*report))[0] == 200
    assert (await rig.by_github(*report))[0] == 409
    assert await leaks_since(rig, before) == [
        (noted, "held"),
        (held, "disabled"),
        (noted, "disabled"),
    ]
    statuses = [await rig.status(kid) for kid in (first, held, noted, still)]
    assert statuses == [Status.ACTIVE] + [Status.DISABLED] * 3


@pytest.mark.parametrize(
    ("test", "done"), [("notify", "noted"), ("rotate", "held"), ("disable", "disabled")]
)
async def test_a_replay_goes_by_the_policy_of_now(rigged, valkey, test, done):
    """A stricter policy ends a key that nothing was done to. An ended key stays as it is."""
    rig = rigged(max_per_hour=1, test=test)
    left = await rig.issue("test")
    report = [{"token": text} for _, text in (left, await rig.issue(), await rig.issue())]
    assert (await rig.by_github(*report))[0] == 200
    assert (left[0], done) in await leaks_since(rig, [])
    if test == "disable":
        await rig.lifecycle.enable(left[0], rig.lifecycle.author("tests"))
    an_hour_later(valkey)
    strict, before = rigged(max_per_hour=1, test="revoke"), await rig.trail()
    strict.key, strict.github.answer = rig.key, rig.github.answer
    while (await strict.by_github(*report))[0] == 200:
        an_hour_later(valkey)
    is_revoked = await rig.status(left[0]) is Status.REVOKED
    assert is_revoked == (test != "disable")
    assert ((left[0], "revoked") in await leaks_since(rig, before)) == is_revoked


async def test_a_key_that_nobody_can_rotate_takes_no_place_of_another(rigged, valkey):
    """In a later hour the report ends its other keys."""
    rig = rigged(max_per_hour=1, live="rotate", test="revoke")
    (_, one), (ended, other) = await rig.issue("live"), await rig.issue("test")
    report = {"token": one}, {"token": other}
    assert (await rig.by_github(*report))[0] == 200
    assert await rig.status(ended) is Status.ACTIVE
    an_hour_later(valkey)
    assert [(await rig.by_github(*report))[0] for _ in range(2)] == [200, 409]
    assert await rig.status(ended) is Status.REVOKED


async def test_a_trail_that_fails_in_the_middle(rigged, monkeypatch):
    """The next try begins at the first key: it gets a row again, and ends again if it works."""
    rig, append = rigged(live="disable"), StoredRows.append
    made = [await rig.issue() for _ in range(3)]
    first, report, rows = made[0][0], [{"token": text} for _, text in made], []

    async def failing(self, *arguments):
        rows.append(arguments)
        if len(rows) == 2:
            raise Unavailable("the store is gone")
        return await append(self, *arguments)

    monkeypatch.setattr(StoredRows, "append", failing)
    assert (await rig.by_github(*report))[0] == 503
    assert await leaks_since(rig, []) == [(first, "disabled")]
    assert {await rig.status(kid) for kid, _ in made} == {Status.DISABLED}
    await rig.lifecycle.enable(first, rig.lifecycle.author("tests"))
    before = await rig.trail()
    assert [(await rig.by_github(*report))[0] for _ in range(2)] == [200, 409]
    words = ["disabled", "noted", "noted"]
    assert await leaks_since(rig, before) == [(k, w) for (k, _), w in zip(made, words, strict=True)]
    assert await rig.status(first) is Status.DISABLED


async def test_a_rotated_secret_ends_nothing(rig):
    """A secret that does not work any more is a true positive, and the key works on."""
    kid, text = await rig.issue()
    await rig.lifecycle.rotate(kid, 0, rig.lifecycle.author("tests"))
    status, answer = await rig.by_github({"token": text})
    assert (status, answer[0]["label"]) == (200, "true_positive")
    assert await rig.status(kid) is Status.ACTIVE


async def test_github_cannot_be_reached(rig):
    """Without GitHub's keys the report is to come again."""
    kid, text = await rig.issue()
    rig.github.answer = None
    assert (await rig.by_github({"token": text}))[0] == 503
    assert await rig.status(kid) is Status.ACTIVE


async def test_a_key_whose_pepper_is_missing(valkey, tmp_path, monkeypatch):
    """A key whose pepper is missing is no false positive. The sender repeats the report."""
    both = make_keyring("ak", "1", "2")
    async with valkey.endpoint.client() as client:
        rig = Rig(StoreParts.of_one(client), tmp_path, monkeypatch, both.fingerprints)
        kid, text = await rig.issue()
        newer = both.mint("live").text
        for _ in range(2):
            status, _ = await rig.by_github({"token": newer}, {"token": text})
            assert (status, await rig.status(kid)) == (503, Status.REVOKED)
        stranger = make_keyring("ak", "3").mint("live").text
        status, (found,) = await rig.by_github({"token": stranger})
        assert (status, found["label"]) == (200, "false_positive")


async def test_a_store_that_fails(rig, valkey):
    """A report that cannot be carried out is answered 503, and works when it comes again."""
    kid, text = await rig.issue()
    valkey.admin.execute_command("ACL", "SETUSER", "default", "-evalsha")
    try:
        assert (await rig.by_github({"token": text}))[0] == 503
    finally:
        valkey.admin.execute_command("ACL", "SETUSER", "default", "+evalsha")
    assert (await rig.by_github({"token": text}))[0] == 200
    assert await rig.status(kid) is Status.REVOKED
