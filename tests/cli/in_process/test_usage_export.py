"""`authz usage export` on a real store."""

import asyncio
import csv
import io
import json
import os
import sqlite3
import ssl
import time
from pathlib import Path

import pytest
import trustme

from authz.cli import usage_export
from authz.flows.usage.billing import Exported
from authz.process import billing_sinks
from authz.process.cursor_file import checksum
from tests.support.cli.billing_receivers import KEY, Receiver, Stripe, listening
from tests.support.cli.in_process import CommandRunner, refusal
from tests.support.cli.terminal import NO_STORE, run
from tests.support.usage import line
from tests.support.usage_counting import count_entries

HOUR = 3_600_000
EXPORT = ("usage", "export")
STRIPE = ("--to", "stripe:a", "--cursor", "c")


@pytest.fixture(params=[1, 8])
def runner(tmp_path, valkey, monkeypatch, request):
    """A directory with a pepper, and an initialised store with so many partitions."""
    return CommandRunner(tmp_path, valkey, monkeypatch, partitions=request.param)


@pytest.fixture
def count(runner):
    """A function that counts requests of a key that ended so many hours ago."""

    def add(kid, hours_ago=5, times=1, **other):
        now = time.time_ns() // 1_000_000
        ended = (now // HOUR - hours_ago) * HOUR + 60_000
        lines = [line(kid=kid, started=ended, milliseconds="0", **other) for _ in range(times)]
        asyncio.run(count_entries(runner.endpoint, lines, now))

    return add


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(billing_sinks, "PAUSES", (0.0, 0.0))


@pytest.fixture
def receiver():
    """A receiver of CloudEvents."""
    with listening(Receiver()) as found:
        yield found


@pytest.fixture
def stripe():
    """A Stripe, and the options for it."""
    Path("stripe.key").write_text(f"{KEY}\n")
    with listening(Stripe()) as found:
        yield found


def to_stripe(stripe, *options):
    """Return the arguments of an export to this Stripe."""
    where = ("--to", "stripe:api_requests", "--stripe-url", stripe.url)
    return (
        *EXPORT,
        *where,
        "--token-file",
        "stripe.key",
        "--cursor",
        "s",
        "--unit",
        "ok",
        *options,
    )


def records(text: str) -> list[dict]:
    """Return the records of JSON Lines."""
    return [json.loads(each) for each in text.splitlines()]


def test_closed_hours_only(runner, count):
    """Each key, hour, route and unit is one record; the hours that are not closed have none."""
    kid, _ = runner.issue()
    count(kid, 5, 3, charged="4")
    count(kid, 5, route="-", code="500")
    count(kid, 2)
    done = runner.run(*EXPORT)
    found = records(done.out)
    assert [(each["route"], each["unit"], each["quantity"]) for each in found] == [
        (None, "units", 1),
        ("models", "ok", 3),
        ("models", "units", 12),
    ]
    hour = found[1]["hour"]
    assert found[1] == {
        "id": f"{kid}:{hour}:models:ok:1",
        "kid": kid,
        "client": "acme-web",
        "project": "search",
        "tenant": "acme",
        "plan": "pro",
        "hour": hour,
        "route": "models",
        "unit": "ok",
        "quantity": 3,
        "revision": 1,
    }
    assert done.err.endswith(": 3 records of 1 key delivered, ok 3, units 13\n")
    assert runner.run(*EXPORT).out == done.out
    summary = runner.run(*EXPORT, "--json")
    assert summary.out == done.out
    assert json.loads(summary.err)["quantities"] == {"ok": 3, "units": 13}
    other = runner.run(*EXPORT, "--unit", "bytes_in", "--unit", "server_error")
    assert sorted(each["quantity"] for each in records(other.out)) == [1, 300, 900]


def test_no_records_make_no_file(runner, count):
    """Without records stderr says that no file was made. With records it does not."""
    kid, _ = runner.issue()
    done = runner.run(*EXPORT, "--to", "none.jsonl")
    assert (done.code, Path("none.jsonl").exists()) == (0, False)
    assert done.err == "there was nothing to write, so none.jsonl was not made\n"
    assert "nothing to write" not in runner.run(*EXPORT).err
    assert runner.run(*EXPORT, "--to", "none.jsonl", "--dry-run").err == ""
    count(kid)
    assert runner.run(*EXPORT, "--to", "some.jsonl").err == ""


def test_owners(runner, count):
    """A deleted key has its usage still. If usage does not know the owner, the key does."""
    gone, _ = runner.issue()
    count(gone, 5)
    runner.run("keys", "revoke", gone)
    assert runner.run("keys", "delete", gone).code == 0
    old, _ = runner.issue(client="globex")
    count(old, 5, version="2")
    moved, _ = runner.issue()
    count(moved, 6, owners="first - - - live")
    count(moved, 5, owners="second - - - live")
    found = records(runner.run(*EXPORT, "--unit", "ok").out)
    assert {(each["kid"], each["client"]) for each in found} == {
        (gone, "acme-web"),
        (old, "globex"),
        (moved, "first"),
        (moved, "second"),
    }


def test_files(runner, count):
    """A file is appended to; CSV has one heading, and no cell that is a formula."""
    kid, _ = runner.issue()
    count(kid, 5, route="=1+1")
    count(kid, 5, route='a"b,c')
    for _ in range(2):
        assert runner.run(*EXPORT, "--to", "f.csv", "--format", "csv", "--unit", "ok").code == 0
    rows = list(csv.DictReader(io.StringIO(Path("f.csv").read_text())))
    assert sorted(row["route"] for row in rows) == ["'=1+1"] * 2 + ['a"b,c'] * 2
    runner.run(*EXPORT, "--to", "f.events", "--format", "cloudevents", "--unit", "ok")
    first, _ = records(Path("f.events").read_text())
    assert (first["specversion"], first["type"]) == ("1.0", "authz.usage.ok")
    assert (first["source"], first["subject"]) == ("authz", "acme-web")
    assert (first["id"], first["time"]) == (first["data"]["id"], first["data"]["hour"])
    document = runner.run(*EXPORT, "--to", "f.jsonl", "--json").document
    assert (document["records"], document["quantities"]) == (4, {"ok": 2, "units": 2})


def test_long_routes_have_short_ids(runner, count):
    """An id has at most 100 characters, whatever the route is called, and stays the same."""
    kid, _ = runner.issue()
    names = ["/" + "a" * 127, "/" + "a" * 126 + "b", "x" * 36, "a:b:c"]
    for name in names:
        count(kid, 5, route=name)
    first, again = (records(runner.run(*EXPORT, "--unit", "client_error", "--unit", "ok").out)
                    for _ in range(2))  # fmt: skip
    assert first == again
    assert {each["route"] for each in first} == set(names)
    assert len({each["id"] for each in first}) == 4
    assert max(len(each["id"]) for each in first) <= 100


def test_a_cursor_goes_on(runner, count):
    """Each run exports what is new; a late count is a new revision with the difference."""
    kid, _ = runner.issue()
    options = (*EXPORT, "--to", "f", "--cursor", "c", "--unit", "ok", "--json")
    count(kid, 5, 3)
    assert runner.run(*options, "--dry-run").document["records"] == 1
    assert not Path("c").exists()
    assert not Path("f").exists()
    assert runner.run(*options).document["records"] == 1
    assert runner.run(*options).document["records"] == 0
    count(kid, 5, 2)
    rehearsed = runner.run(*options, "--dry-run").document
    document = runner.run(*options).document
    assert rehearsed == document | {"dry_run": True}
    assert (document["records"], document["corrections"]) == (1, 1)
    found = records(Path("f").read_text())
    assert [(each["revision"], each["quantity"]) for each in found] == [(1, 3), (2, 2)]
    runner.valkey.admin.delete(*runner.valkey.admin.keys("*:h:*"))
    assert runner.run(*options).document["records"] == 0


def test_spans(runner, count):
    """--since and --until bound the hours; what a cursor has forgotten is not exported twice."""
    kid, _ = runner.issue()
    for ago in (5, 30, 200, 800):
        count(kid, ago)
    counted = {}
    for since, until in (("26h", "1h"), ("220h", "26h"), ("900h", "220h"), ("300h", "5h")):
        document = runner.run(
            *EXPORT, "--unit", "ok", "--since", since, "--until", until, "--json", "--to", "f"
        ).document
        counted[since] = document["records"]
    assert counted == {"26h": 1, "220h": 2, "900h": 1, "300h": 2}
    options = (*EXPORT, "--to", "g", "--cursor", "c", "--unit", "ok", "--json")
    assert runner.run(*options, "--since", "210h").document["records"] == 3
    assert "has forgotten hours before" in refusal(runner.run(*options, "--since", "900h"))
    assert runner.run(*options, "--since", "20h").document["records"] == 0


def test_events_over_http(runner, count, receiver):
    """A batch of CloudEvents with the token; the cursor moves after a status from 200 to 299."""
    kid, _ = runner.issue()
    count(kid, 5, 2)
    Path("token").write_text("secret-of-the-receiver\n")
    options = (*EXPORT, "--to", f"{receiver.url}/api/v1/events?x=1", "--cursor", "c",
               "--token-file", "token")  # fmt: skip
    assert runner.run(*options).code == 0
    ((path, headers, body),) = receiver.requests
    assert (path, headers["Content-Type"]) == (
        "/api/v1/events?x=1",
        "application/cloudevents-batch+json",
    )
    assert headers["Authorization"] == "Bearer secret-of-the-receiver"
    assert [each["data"]["quantity"] for each in json.loads(body)] == [2, 2]
    assert runner.run(*options).code == 0
    assert len(receiver.requests) == 1


def _garbage(*_request):
    return 0, {}, b"secret-of-the-receiver\x1b[31m\r\n\r\n"


def _answers(status, **headers):
    return lambda *_request: (status, headers, b"secret-of-the-receiver")


@pytest.mark.parametrize(
    "failure",
    [
        (_answers(503), "answered 503"),
        (_answers(429, **{"Retry-After": "0"}), "answered 429"),
        (_answers(400), "answered 400"),
        (_answers(401), "answered 401"),
        (_answers(302, Location="https://example.com/"), "redirects are not followed"),
        (_garbage, "no response of HTTP"),
        (lambda *_request: None, "RemoteDisconnected"),
        (_answers(200, **{"Content-Length": "999999"}), "127.0.0.1"),
    ],
)
def test_a_receiver_that_fails(runner, count, receiver, failure, monkeypatch):
    """One line says why, no secret is in it, and the next run sends the same again."""
    monkeypatch.setattr("authz.cli.billing_receiver.SECONDS", 1.0)
    kid, _ = runner.issue()
    count(kid, 5, 2)
    Path("token").write_text("secret-of-the-receiver")
    options = (*EXPORT, "--to", receiver.url, "--cursor", "c", "--token-file", "token")
    receiver.answer, problem = failure
    failed = runner.run(*options)
    assert problem in refusal(failed, 3)
    assert "secret" not in failed.err
    receiver.answer = receiver.take
    done = runner.run(*options, "--json")
    assert (done.code, done.document["repeated"], receiver.total()) == (0, 2, 2)
    assert receiver.requests[-1][2] == receiver.requests[0][2]


def test_a_receiver_that_is_slow_or_gone(runner, count, receiver, monkeypatch):
    """A receiver without an answer is given up after a time; nothing is lost."""
    monkeypatch.setattr("authz.cli.billing_receiver.SECONDS", 0.3)
    kid, _ = runner.issue()
    count(kid, 5)
    options = (*EXPORT, "--cursor", "c", "--to", receiver.url)
    receiver.answer = lambda *_request: time.sleep(1.5)
    assert "0.3 s" in refusal(runner.run(*options), 3)
    receiver.answer = receiver.take
    assert runner.run(*options).code == 0
    assert receiver.total() == 1
    gone = (*EXPORT, "--to", "http://127.0.0.1:1/")
    assert "Connection refused" in refusal(runner.run(*gone), 3)


def test_only_the_receiver_itself_gets_records(runner, count):
    """A server whose certificate is not of the given authority gets nothing, not even the token."""
    kid, _ = runner.issue()
    count(kid, 5)
    ours, stranger = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path("ca.pem")
    stranger.cert_pem.write_to_path("stranger.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)
    Path("token").write_text("secret-of-the-receiver")
    with listening(Receiver(), context) as receiver:
        options = (*EXPORT, "--cursor", "c", "--token-file", "token", "--to", receiver.url)
        for authority in ((), ("--ca", "stranger.pem")):
            assert "CERTIFICATE_VERIFY_FAILED" in refusal(runner.run(*options, *authority), 3)
        assert receiver.requests == []
        assert runner.run(*options, "--ca", "ca.pem").code == 0
        assert receiver.total() == 1


def test_a_batch_that_is_too_large_is_halved(runner, count, receiver):
    """413 makes the batches smaller, down to one event."""
    kid, _ = runner.issue()
    for route in "abcdefg":
        count(kid, 5, route=route)

    def answer(*request):
        return (413, {}, b"") if len(json.loads(request[2])) > 2 else receiver.take(*request)

    receiver.answer = answer
    assert runner.run(*EXPORT, "--to", receiver.url).code == 0
    assert (len(receiver.events), receiver.repeats) == (14, 0)


def test_stripe(runner, count, stripe):
    """A meter event for each record, with the customer of the key or of a file."""
    first, _ = runner.issue("--metadata", "stripe_customer=cus_1")
    second, _ = runner.issue(client="globex")
    third, _ = runner.issue(client="initech")
    for kid, times, owners in (
        (first, 3, "acme-web - - - live"),
        (second, 2, "globex - - - live"),
        (third, 1, "initech - - - live"),
    ):
        count(kid, 5, times, owners=owners)
    Path("customers").write_text("# ours\nclient globex cus_2\n\n")
    options = to_stripe(stripe, "--customer", "stripe_customer", "--customers", "customers")
    done = runner.run(*options)
    assert done.code == 1
    assert f"key {third} has no customer" in done.err
    assert stripe.sums() == {"cus_1": 3, "cus_2": 2}
    (event,) = [form for form in stripe.counted if form["payload[value]"] == "3"]
    hour = (time.time_ns() // 1_000_000 // HOUR - 5) * 3600
    assert (event["event_name"], event["timestamp"]) == ("api_requests", str(hour))
    assert event["identifier"].startswith(f"{first}:20")
    Path("customers").write_text("client globex cus_2\nclient initech cus_3\n")
    count(first, 5, 1)
    assert runner.run(*options).code == 0
    assert stripe.sums() == {"cus_1": 4, "cus_2": 2, "cus_3": 1}


def test_stripe_fails_for_a_while(runner, count, stripe):
    """429, 5xx and a lost answer: nothing is lost, and nothing counts twice."""
    kid, _ = runner.issue("--metadata", "stripe_customer=cus_1")
    for route in "abcdef":
        count(kid, 5, route=route)
    options = to_stripe(stripe, "--customer", "stripe_customer")
    stripe.fails = [(429, {"Retry-After": "0"}, b"{}"), (500, {}, b""), *[(503, {}, b"no")] * 3]
    assert "Stripe answered 503" in refusal(runner.run(*options), 3)
    asked, left = stripe.create, [4]

    def lost(*request):
        answer = asked(*request)
        left[0] -= 1
        return answer if left[0] > 0 else None

    stripe.answer = lost
    assert runner.run(*options).code == 3
    assert 0 < len(stripe.counted) < 6
    stripe.answer = asked
    assert runner.run(*options).code == 0
    assert stripe.sums() == {"cus_1": 6}
    assert len(stripe.counted) == 6


@pytest.mark.parametrize(
    ("alter", "problem"),
    [
        (lambda stripe: stripe.meters.clear(), "400 resource_missing"),
        (lambda _: Path("stripe.key").write_text("rk_test_other"), "401 invalid_request_error"),
        (lambda s: setattr(s, "answer", _answers(200)), "but not with the event"),
        (lambda s: setattr(s, "answer", _answers(302)), "redirects are not followed"),
    ],
)
def test_stripe_refuses(runner, count, stripe, alter, problem):
    """The cause is told without the key, and the next run delivers."""
    kid, _ = runner.issue("--metadata", "stripe_customer=cus_1")
    count(kid, 5)
    options = to_stripe(stripe, "--customer", "stripe_customer")
    answer, meters = stripe.answer, set(stripe.meters)
    alter(stripe)
    failed = runner.run(*options)
    assert failed.code in {1, 3}
    assert problem in failed.err
    assert "rk_test" not in failed.err
    stripe.answer, stripe.meters = answer, meters
    Path("stripe.key").write_text(KEY)
    assert runner.run(*options).code == 0
    assert stripe.sums() == {"cus_1": 1}


def test_stripe_may_have_them(runner, count, stripe):
    """If an unanswered delivery is a day old, a person decides; a live key has another cursor."""
    kid, _ = runner.issue("--metadata", "stripe_customer=cus_1")
    count(kid, 30)
    options = to_stripe(stripe, "--customer", "stripe_customer")
    answer, stripe.answer = stripe.answer, lambda *_request: None
    assert runner.run(*options).code == 3
    base = sqlite3.connect("s")
    ((number, text),) = base.execute("SELECT number, record FROM pending").fetchall()
    sent = time.time_ns() // 1_000_000 - 24 * HOUR
    base.execute(
        "UPDATE pending SET sent_ms = ?, checksum = ? WHERE number = ?",
        (sent, checksum(sent, text), number),
    )
    base.commit()
    base.close()
    stripe.answer = answer
    assert "--in-doubt: is needed: 1 records were sent" in refusal(runner.run(*options))
    assert stripe.counted == []
    Path("stripe.key").write_text("rk_live_1")
    failed = refusal(runner.run(*options, "--in-doubt", "send"))
    assert "another receiver: stripe:api_requests in test mode" in failed
    Path("stripe.key").write_text(KEY)
    assert runner.run(*options, "--in-doubt", "send").code == 0
    assert stripe.sums() == {"cus_1": 1}


def test_stripe_takes_35_days(runner, count, stripe):
    """Older hours are left out of a first export; a cursor that stood too long says so."""
    kid, _ = runner.issue("--metadata", "stripe_customer=cus_1")
    count(kid, 34 * 24)
    count(kid, 36 * 24)
    options = to_stripe(stripe, "--customer", "stripe_customer")
    assert runner.run(*options, "--until", "20d").code == 0
    assert stripe.sums() == {"cus_1": 1}
    assert runner.run(*options, "--since", "36d").code == 2


def test_a_unit_more_needs_a_cursor_of_its_own(runner, count):
    """A cursor knows the hours of its units. Of a unit more, the hours before would be lost."""
    kid, _ = runner.issue()
    count(kid, 50)
    options = (*EXPORT, "--cursor", "c", "--to", "f", "--unit", "ok")
    assert runner.run(*options).code == 0
    assert "another choice of --unit: ok" in refusal(runner.run(*options, "--unit", "bytes_in"))
    assert runner.run(*options, "--unit", "ok").code == 0


def test_since_with_a_cursor(runner, count):
    """A time in the future is refused, and hours that --since leaves out are named."""
    kid, _ = runner.issue()
    options = (*EXPORT, "--cursor", "c", "--to", "f", "--unit", "ok")
    count(kid, 20)
    assert runner.run(*options, "--until", "10h").code == 0
    count(kid, 8)
    assert "in the future" in refusal(runner.run(*options, "--since", "2999-01-01T00:00:00Z"))
    assert "no later run exports" in runner.run(*options, "--since", "5h", "--dry-run").err
    assert runner.run(*options, "--json").document["records"] == 1


def test_an_export_before_an_hour_is_closed(runner, count):
    """Without records the answer says when hours close; old hours that may be gone are named."""
    kid, _ = runner.issue()
    count(kid, 1)
    assert "an hour closes 2 hours after its end" in runner.run(*EXPORT, "--since", "24h").err
    assert "closes" not in runner.run(*EXPORT, "--since", "24h", "--until", "5h").err
    assert "may be gone" not in runner.run(*EXPORT, "--since", "30d").err
    assert "may be gone, or too old to deliver" in runner.run(*EXPORT, "--since", "40d").err


def test_a_cursor_that_stood_too_long(runner, count, monkeypatch):
    """Hours that are lost are named; --since goes on behind them."""
    kid, _ = runner.issue()
    options = (*EXPORT, "--cursor", "c", "--to", "f", "--unit", "ok")
    count(kid, 60 * 24)
    assert runner.run(*options, "--since", "61d", "--until", "50d").code == 0
    assert "hours from 20" in refusal(runner.run(*options))
    assert runner.run(*options, "--since", "30d").code == 0
    count(kid, 5)
    assert runner.run(*options, "--json").document["records"] == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--to", "ftp://x"), "--to: 'ftp://x': a file, https://HOST/PATH or stripe:EVENT_NAME"),
        (("--to", "http://example.com/"), "--to: https is needed"),
        (("--to", "https://u:secret@example.com/"), "--to: a URL without user"),
        (("--to", "https://example.com/", "--format", "csv"), "--format: over HTTP it is"),
        (("--to", "https://example.com/", "--token-file", "absent"), "absent: No such file"),
        (("--to", "https://example.com/", "--token-file", "two"), "one token on one line"),
        (("--to", "https://example.com/", "--token-file", "bytes"), "not a file of ASCII text"),
        (("--to", "stripe:a b"), "not the event name"),
        (("--to", "stripe:a", "--token-file", "token"), "--cursor: is needed: after a day"),
        (("--to", "stripe:a", "--cursor", "c"), "--token-file: is needed"),
        (("--to", "stripe:a", "--unit", "ok", "--unit", "units"), "--unit: a meter of Stripe"),
        ((*STRIPE, "--token-file", "token"), "--customer: or --customers"),
        ((*STRIPE, "--token-file", "token", "--customers", "two"), "line 1: 'a b'"),
        ((*STRIPE, "--token-file", "token", "--customer", "é"), "--customer: is the"),
        (("--to", "f", "--customer", "x"), "--customer: is for --to stripe"),
        (("--to", "./c", "--cursor", "c"), "--to: ./c is a file of the cursor"),
        (("--to", "c-journal", "--cursor", "c"), "--to: c-journal is a file of the cursor"),
        (("--to", "f", "--token-file", "token"), "--token-file: is for a receiver over HTTP"),
        (("--format", "parquet"), "--format: parquet needs a file"),
        (("--since", "yesterday"), "--since: 'yesterday' is not a time"),
        (("--since", "1h", "--until", "2h"), "--since: is not a whole hour before"),
        (("--corrections", "soon"), "--corrections"),
        (("--unit", "euros"), "'euros' is not one of"),
    ],
)
def test_wrong_usage(options, problem, tmp_path, monkeypatch):
    """One line that names the option, before the store is asked. No secret is shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTHZ_REDIS__URL", NO_STORE)
    Path("token").write_text("secret")
    Path("two").write_text("a b\nsecret\n")
    Path("bytes").write_bytes(b"\xff\xfe secret")
    unit = () if "--unit" in options or "stripe" not in options[1] else ("--unit", "ok")
    line_ = refusal(run(*EXPORT, *options, *unit))
    assert problem in line_
    assert "secret" not in line_


def test_files_that_cannot_be_written(runner, count):
    """The cause is told, and nothing counts as delivered."""
    kid, _ = runner.issue()
    count(kid, 5)
    Path("directory").mkdir()
    Path("words").write_text("no cursor\n")
    for cursor, problem in (("words", "is damaged or no cursor"), ("absent/c", "No such file")):
        failed = runner.run(*EXPORT, "--cursor", cursor, "--to", "f")
        assert f"--cursor: {cursor}" in refusal(failed)
        assert problem in failed.err
    options = (*EXPORT, "--cursor", "c", "--unit", "ok", "--json")
    assert "Is a directory" in refusal(runner.run(*options, "--to", "directory"), 3)
    assert "No such file" in refusal(runner.run(*options, "--to", "absent/f"), 3)
    assert "not a regular file" in refusal(runner.run(*options, "--to", "/dev/full"), 3)
    os.mkfifo("pipe")
    assert "not a regular file" in refusal(runner.run(*options, "--to", "pipe"), 3)
    assert runner.run(*options, "--to", "f").document["repeated"] == 1
    assert records(Path("f").read_text())[0]["quantity"] == 1


def test_parquet(runner, count):
    """A file is there when it is complete. It has the columns of the other formats."""
    parquet = pytest.importorskip("pyarrow.parquet")
    kid, _ = runner.issue()
    count(kid, 5, 3)
    options = (*EXPORT, "--format", "parquet", "--cursor", "c")
    assert runner.run(*options, "--to", "a.parquet").code == 0
    (row,) = [row for row in parquet.read_table("a.parquet").to_pylist() if row["unit"] == "ok"]
    assert (row["kid"], row["quantity"], row["route"]) == (kid, 3, "models")
    assert row["hour"].timestamp() == (time.time_ns() // 1_000_000 // HOUR - 5) * 3600
    assert "exists" in refusal(runner.run(*options, "--to", "a.parquet"))
    assert runner.run(*options, "--to", "b.parquet").code == 0
    assert not Path("b.parquet").exists()  # there was nothing
    count(kid, 5)
    assert runner.run(*options, "--to", "c.parquet").code == 0
    assert parquet.read_table("c.parquet").column("quantity").to_pylist() == [1, 1]


def test_progress_on_a_terminal(monkeypatch, capsys):
    """A line tells how far a long export is, from time to time."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = usage_export._Progress()
    progress.show(Exported(records=5, keys=2))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(usage_export, "PAUSE", 0.0)
    progress.show(Exported(records=7, keys=3))
    assert capsys.readouterr().err == "7 records of 3 keys\n"
    assert progress.last.records == 7


def test_parquet_without_pyarrow(runner, monkeypatch):
    """One line says how to install it."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    failed = runner.run(*EXPORT, "--format", "parquet", "--to", "a.parquet")
    assert "pip install 'envoy-authz[parquet]'" in refusal(failed)
