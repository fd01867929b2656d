"""`authz usage` on a real store."""

import asyncio
import csv
import io
import re
import time

import pytest

from authz.core.partitions import Partitions
from tests.support.cli.in_process import CommandRunner, refusal
from tests.support.usage import PROCESS, line
from tests.support.usage_counting import count_entries

DAY = 86_400_000


@pytest.fixture(params=[1, 8])
def runner(tmp_path, valkey, monkeypatch, request):
    """A directory with a pepper, and an initialised store with so many partitions."""
    return CommandRunner(tmp_path, valkey, monkeypatch, partitions=request.param)


@pytest.fixture
def count(runner):
    """A function that counts entries: (kid, days ago, other fields of the line)."""

    def add(*entries):
        now = time.time_ns() // 1_000_000
        lines = [
            line(kid=kid, started=now - ago * DAY, milliseconds="0", **other)
            for kid, ago, other in entries
        ]
        asyncio.run(count_entries(runner.endpoint, lines, now))

    return add


def test_one_key(runner, count):
    """A key's requests by outcome, bytes and units, its denials, and the completeness."""
    kid, _ = runner.issue()
    denied = {"code": "403", "reason": "revoked", "flags": "UAEX", "charged": "-"}
    charge = f"{'a' * 16}{4:012x}"
    count((kid, 0, {"charge_id": charge}), (kid, 0, {"charged": "5"}), (kid, 0, denied))
    document = runner.run("usage", "--key", kid, "--json").document
    total = document["total"]
    assert (total["requests"], total["ok"], total["denied"], total["units"]) == (3, 2, 1, 6)
    assert (total["bytes_in"], total["bytes_out"]) == (900, 12_000)
    assert (document["by"], document["keys"], len(document["rows"])) == ("day", 1, 1)
    assert document["denied_by_reason"] == {"revoked": 1}
    minutes = runner.run("usage", "--key", kid, "--by", "minute", "--json").document
    assert (minutes["by"], minutes["total"]["requests"]) == ("minute", 3)
    assert re.search(
        r"^20\d\d-\d\d-\d\dT\d\d:\d\d  ", runner.run("usage", "--by", "minute").out, re.M
    )
    done = runner.run("usage", "--key", kid, "--since", "1h", "--by", "hour")
    assert done.code == 0
    issued, seen, missing = (
        document["completeness"][name] for name in ("issued", "seen", "missing")
    )
    assert (seen, issued - seen) == (3, missing)
    assert done.out.endswith(f"issued {issued}, seen 3, missing {missing}\n")
    assert "denied by reason: revoked 1" in done.out


def test_a_table_fits_a_terminal(runner, count):
    """Rows of usage and of the keys that were used most have at most 80 characters."""
    kid, _ = runner.issue(client="acme-web-shop-eu")
    failed = {"code": "404", "sent": "987654321"}
    count((kid, 0, {"charged": "98765"}), (kid, 0, failed), (kid, 0, failed | {"code": "503"}))
    table = runner.run("usage", "--key", kid, "--by", "hour").out
    assert re.search(r"^20[0-9T:-]{14} +3 +1 +1\+1 +0 +0 +98767 +1975312642$", table, re.M)
    top = runner.run("usage", "top").out
    assert max(map(len, (table + top).splitlines())) <= 80


def test_owners_routes_and_status(runner, count):
    """A client's keys are summed; status is told over all requests."""
    first, _ = runner.issue()
    second, _ = runner.issue()
    other, _ = runner.issue(client="acme-batch")
    count((first, 0, {}), (second, 1, {"route": "=a,b"}), (other, 0, {"code": "500"}))
    client = runner.run("usage", "--client", "acme-web", "--json").document
    assert (client["total"]["requests"], client["keys"]) == (2, 2)
    table = list(
        csv.DictReader(
            io.StringIO(runner.run("usage", "--client", "acme-web", "--by", "route", "--csv").out)
        )
    )
    assert [(row["route"], row["requests"]) for row in table] == [("'=a,b", "1"), ("models", "1")]
    status = runner.run("usage", "--by", "status", "--json").document
    assert [(row["status"], row["requests"]) for row in status["rows"]] == [("200", 2), ("500", 1)]
    keyless = {"code": "401", "reason": "missing_credential", "flags": "UAEX", "charged": "-"}
    count(("-", 0, keyless | {"secret": "-", "owners": "- - - - -"}))
    month = runner.run("usage", "--month").out
    assert "all requests" in month
    assert "denied without a key, by reason: missing_credential 1\n" in month


def test_tokens_and_money_by_model(runner, count):
    """The table has tokens by kind, and dollars; JSON and CSV have every number."""
    kid, _ = runner.issue()
    terms = "1,1,0,0,0;v1,1000000,2000000,500000,1000000,2000000,0"
    asked = {"version": "4", "settle": terms}
    count(
        (kid, 0, asked | {"model": "gpt-4.1", "tokens": "complete:1200000:10:2:0:3"}),
        (kid, 0, asked | {"model": "haiku", "tokens": "complete:5:0:0:0:0"}),
        (kid, 0, {}),
    )
    table = runner.run("usage", "--key", kid, "--by", "model").out
    assert re.search(r"^MODEL +REQUESTS +INPUT +OUTPUT +CACHED +REASONING +USD$", table, re.M)
    assert re.search(r"^gpt-4\.1 +1 +1200000 +10 +2 +3 +1\.200019$", table, re.M)
    assert re.search(r"^total +2 +1200005 +10 +2 +3 +1\.200024$", table, re.M)
    rows = runner.run("usage", "--client", "acme-web", "--by", "model", "--json").document["rows"]
    assert [(row["model"], row["input_tokens"]) for row in rows] == [
        ("gpt-4.1", 1_200_000),
        ("haiku", 5),
    ]
    assert runner.run("usage", "--by", "model", "--csv").out.startswith("model,requests,")
    assert runner.run("usage", "cost", "--key", kid, "--by", "model").out.startswith(
        table.partition("\n2")[0]  # the span ends now
    )
    assert runner.run("usage", "cost", "--json").document["by"] == "model"
    daily = runner.run("usage", "cost", "--key", kid, "--by", "day").out
    assert re.search(r"^total +3 +1200005 +10 +2 +3 +1\.200024$", daily, re.M)
    mixed = runner.run("usage", "cost", "--csv", "--json")
    assert (mixed.code, "another form than --json" in mixed.err) == (2, True)


def test_top(runner, count):
    """The keys with the most requests come first; a deleted key has no client."""
    first, _ = runner.issue()
    gone = "Q" * 16
    count((first, 0, {}), (gone, 0, {}), (gone, 1, {}))
    keys = runner.run("usage", "top", "--json").document["keys"]
    assert [(row["kid"], row["client_id"], row["requests"]) for row in keys] == [
        (gone, None, 2),
        (first, "acme-web", 1),
    ]
    out = runner.run("usage", "top", "--by", "units", "--limit", "1").out
    assert (gone in out, first in out) == (True, False)
    assert "no key was used" in runner.run("usage", "top", "--by", "denied").out


def test_a_span_before_what_is_kept(runner, count, monkeypatch):
    """A warning names the setting if the span begins before the counts that are kept."""
    kid, _ = runner.issue()
    count((kid, 0, {}))
    by_minute = ("usage", "--key", kid, "--by", "minute", "--json", "--since")
    assert runner.run(*by_minute, "119m").err == ""
    done = runner.run(*by_minute, "3h")
    assert "may be gone: minutes are kept for 2h (meter.retention.minutes)" in done.err
    assert done.document["total"]["requests"] == 1
    monkeypatch.setenv("AUTHZ_METER__RETENTION__MINUTES", "4h")
    assert runner.run(*by_minute, "3h").err == ""


def test_nothing_was_counted(runner):
    """Without usage the answer says so, and an unknown key is refused."""
    kid, _ = runner.issue()
    done = runner.run("usage", "--key", kid)
    assert (done.code, done.out.splitlines()[0]) == (0, "no requests")
    assert done.out.endswith("issued 0, seen 0, missing 0\n")
    assert "no key has the kid" in refusal(runner.run("usage", "--key", PROCESS), 1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--key", "short"), "--key"),
        (("--key", "Q" * 16, "--client", "a"), "--key"),
        (("--key", "Q" * 16, "--by", "status"), "--by"),
        (("--client", "a b"), "--client"),
        (("--since", "soon"), "--since"),
        (("--until", "x"), "--until"),
        (("--since", "1h", "--until", "2h"), "--since"),
        (("--month", "--since", "1h"), "--month"),
        (("--csv", "--json"), "--csv"),
        (("top", "--limit", "0"), "--limit"),
        (("top", "--since", "x"), "--since"),
        (("top", "--month", "2026-13"), "--month"),
        (("top", "--month", "1969-12"), "--month"),
        (("top", "--month", "this", "--since", "1h"), "--month"),
        (("top", "--by", "cost"), "--by"),
    ],
)
def test_bad_input(runner, arguments, named):
    """A mistake is one line with the option."""
    assert named in refusal(runner.run("usage", *arguments))


def test_show_says_from_where_each_secret_was_used(runner, count):
    """During an overlap the old and the new secret have a line each."""
    kid, _ = runner.issue()
    assert "last used" not in runner.run("keys", "show", kid).out
    assert runner.run("keys", "show", kid, "--json").document["usage"]["last_used"] is None
    old = runner.run("keys", "show", kid, "--json").document["secrets"][0]["id"]
    assert runner.run("keys", "rotate", kid, "--grace", "1h").code == 0
    count((kid, 0, {"secret": old}), (kid, 3, {"secret": old}))
    out = runner.run("keys", "show", kid).out
    assert f"the old secret {old}: " in out
    assert " ago from 203.0.113.0/24 by curl\n" in out
    assert "never, as far as usage was counted" in out
    usage = runner.run("keys", "show", kid, "--json").document["usage"]
    assert (usage["requests_30d"], usage["secrets"][old]["requests"]) == (2, 2)
    assert usage["last_used"]["network"] == "203.0.113.0/24"


def test_show_without_usage_that_can_be_read(runner, count):
    """Garbled usage leaves the record readable."""
    kid, _ = runner.issue()
    runner.valkey.admin.hset(f"{runner.names(kid).usage}{kid}", "last", "x")
    done = runner.run("keys", "show", kid, "--json")
    assert (done.code, done.document["usage"]) == (0, None)
    partition = f"partition {Partitions(8).of(kid)}: " if runner.partitions > 1 else ""
    assert done.err.startswith(f"usage cannot be read: {partition}last")


def test_list_with_columns_of_usage(runner, count):
    """last-used and requests-30d are columns, and members of the document."""
    kid, _ = runner.issue()
    runner.issue()
    count((kid, 0, {}), (kid, 20, {}), (kid, 40, {}))
    chosen = ("keys", "list", "--columns", "kid,last-used,requests-30d")
    rows = [line.split() for line in runner.run(*chosen).out.splitlines()[1:]]
    assert [(row[0] == kid, row[2]) for row in rows] == [(True, "2"), (False, "0")]
    assert rows[1][1] == "never"
    found = runner.run(*chosen, "--json").document["keys"]
    assert [key["requests_30d"] for key in found] == [2, 0]
    assert found[1]["last_used"] is None


def test_unused_keys(runner, count):
    """Keys without a use for so long are selected, and new keys are not."""
    used, _ = runner.issue()
    idle, _ = runner.issue()
    fresh, _ = runner.issue()
    for kid in (used, idle):
        runner.valkey.admin.zadd(
            runner.names(kid).keys, {kid: time.time_ns() // 1_000_000 - 200 * DAY}
        )
    selected = ("keys", "list", "--unused-for", "90d", "--json")
    assert "authz meter" in refusal(runner.run(*selected))
    count((used, 0, {}), (used, 60, {}))
    assert "not yet counted" in refusal(runner.run(*selected))
    count((idle, 100, {}))
    assert [key["kid"] for key in runner.run(*selected).document["keys"]] == [idle]
    disabled = runner.run("keys", "disable", "--unused-for", "90d", "--yes", "--json").document
    assert disabled["disabled"] == [idle]
    assert runner.status(fresh) == "active"


def test_erase(runner, count):
    """Networks go, counts stay, and the second time there is nothing to erase."""
    kid, _ = runner.issue()
    count((kid, 0, {}))
    done = runner.run("usage", "erase", "--key", kid, "--note", "asked", "--json")
    assert done.err == ""
    listed = runner.run("audit", "list", "--action", "erase_usage", "--json").document
    (event,) = listed["events"]
    assert (event["kid"], event["note"]) == (kid, "asked")
    assert runner.run("audit", "list", "--kid", kid).out.count("erase_usage") == 1
    assert runner.run("audit", "verify").code == 0
    assert (done.code, done.document) == (0, {"kid": kid, "erased": 1})
    out = runner.run("keys", "show", kid).out
    assert "203.0.113.0" not in out
    assert "requests 30 d      1" in out
    assert "nothing to erase" in runner.run("usage", "erase", "--key", kid).out
    assert "--key" in refusal(runner.run("usage", "erase", "--key", "x"))


@pytest.fixture
def log(runner):
    """A function that writes a log, and counts all but some of its last lines."""

    def write(*kids, lacking=0):
        now = time.time_ns() // 1_000_000 // 3_600_000 * 3_600_000
        ages = (5, 4, 3, 2)
        lines = [
            line(kid=kid, started=now - age * 3_600_000, milliseconds="0")
            for age in ages
            for kid in kids
        ]
        outer = len(kids)
        counted = [*lines[:outer], *lines[outer : len(lines) - outer - lacking], *lines[-outer:]]
        asyncio.run(count_entries(runner.endpoint, counted, now))
        path = runner.directory / "usage.log"
        path.write_bytes(b"\n".join([*lines, b"nonsense", b""]))
        return str(path)

    return write


def test_a_log_that_agrees(runner, log, monkeypatch):
    """The hours between the first and the last one are compared, however the log is read."""
    for size in (1, 3, 10_000):
        monkeypatch.setattr("authz.cli.usage_reconcile.LINES", size)
        kids = [f"{size:08d}{number:08d}" for number in range(3)]
        done = runner.run("usage", "reconcile", "--file", log(*kids), "--json")
        found = done.document
        runner.valkey.admin.delete(*runner.valkey.admin.keys("*:use:last"))
        assert (done.code, found["differences"]) == (0, [])
        assert (found["requests"], found["keys"], found["refused_lines"]) == (6, 3, 1)
    assert "no difference" in runner.run("usage", "reconcile", "--file", log("R" * 16)).out


def test_a_log_that_differs(runner, log, count):
    """A request that is missing and a key that the log lacks are told, with exit code 1."""
    path = log("Q" * 16, "T" * 16, lacking=1)
    done = runner.run("usage", "reconcile", "--file", path)
    assert done.code == 1
    assert "ok -1, bytes_in -300, bytes_out -4000" in done.out
    count(("N" * 16, 0, {}))
    since = ("--since", "1h", "--until", "0s")
    found = runner.run("usage", "reconcile", "--file", path, *since, "--json")
    [row] = found.document["differences"]
    assert (found.code, row["kid"], row["logged"], row["counted"]) == (1, "N" * 16, 0, 1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--file", "none.log"), "--file"),
        (("--file", "/dev/null"), "--since"),
        (("--file", "/dev/null", "--since", "1h"), "--until"),
        (("--file", "/dev/null", "--since", "1h", "--until", "2h"), "--since"),
    ],
)
def test_logs_that_cannot_be_compared(runner, arguments, named):
    """A mistake is one line with the option."""
    assert named in refusal(runner.run("usage", "reconcile", *arguments))
