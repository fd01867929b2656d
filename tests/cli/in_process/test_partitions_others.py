"""Events, tokens, blocked clients and delivered secrets on a store with several partitions."""

import asyncio
import json

import pytest

from authz.cli.main import MISUSED
from authz.core.notifications.ports import DeadLetter, Progress
from authz.core.partitions import Partitions
from authz.storage.notifications import StoredLetters, StoredNotifications
from tests.support.cli.in_process import CommandRunner, refusal
from tests.support.system import until

COUNT = 8
PARTITIONS = Partitions(COUNT)


@pytest.fixture
def runner(tmp_path, valkey, monkeypatch):
    """A directory with a pepper, and an initialised store of eight partitions."""
    return CommandRunner(tmp_path, valkey, monkeypatch, partitions=COUNT)


def write_settings(runner, text):
    """Write settings and return the options that name them."""
    (runner.directory / "authz.yaml").write_text(text)
    return ("--config", "authz.yaml")


SINKS = "events: {source: here, sinks: {a: {kind: log}, b: {kind: log}}}\n"


def test_events_of_all_partitions(runner):
    """Events of all partitions are listed by time. Their ids name their partition."""
    kids = [runner.issue(client=f"c{number}")[0] for number in range(12)]
    runner.run("keys", "revoke", kids[3])
    found = runner.run("events", "list", "--json").document["events"]
    times = [one["time"] for one in found]
    assert times == sorted(times, reverse=True)
    assert sorted(one["data"]["kid"] for one in found) == sorted([*kids, kids[3]])
    for one in found:
        assert one["id"].startswith(f"{PARTITIONS.of(one['data']['kid'])}.")
    of_key = runner.run("events", "list", "--kid", kids[3], "--json").document["events"]
    assert [one["type"] for one in of_key] == ["authz.key.revoked", "authz.key.created"]
    assert len(runner.run("events", "list", "--limit", "3", "--json").document["events"]) == 3


def test_dead_events_and_replays(runner):
    """A sink has dead letters in each partition, and a replay goes to the partition of its id."""
    options = write_settings(runner, SINKS)
    parts = runner.endpoint.partitions()
    ids = ["2.3-0-0123456789ab", "5.3-0-0123456789ab"]

    async def give_up():
        for at, one, time in ((2, ids[0], 2_000), (5, ids[1], 1_000)):
            async with parts[at].client() as client:
                letter = DeadLetter("authz.key.revoked", "A" * 16, time, "it answered 500")
                await StoredLetters(client).put("a", one, letter)

    async def begin(but=()):
        for at, part in enumerate(parts):
            async with part.client() as client:
                failing = Progress("1-0", "5.1-0-0123456789ab", 1_000, 2) if at == 5 else None
                if at not in but:
                    await StoredNotifications(client).save("b", failing or Progress("1-0"))

    asyncio.run(give_up())
    asyncio.run(begin(but=[7]))
    found = runner.run(*options, "events", "dead", "--json").document["sinks"]
    assert [one["id"] for one in found[0]["dead"]] == ids[::-1]
    assert [one["started"] for one in found] == [False, False]
    asyncio.run(begin())
    (state,) = runner.run(*options, "events", "dead", "--sink", "b", "--json").document["sinks"]
    assert (state["started"], state["failing"]) == (True, "5.1-0-0123456789ab")
    replay = (*options, "events", "replay", "--sink", "a")
    assert runner.run(*replay, "--all").out == "2 events will be delivered again\n"
    admin = runner.valkey.admin
    asked = [admin.hkeys(part.names.again("a")) for part in parts]
    assert asked == [[], [], [ids[0]], [], [], [ids[1]], [], []]
    assert runner.run(*replay, "7.1-0-0123456789ab").code == 0
    assert admin.hkeys(parts[7].names.again("a")) == ["7.1-0-0123456789ab"]
    for wrong in ("1-0-0123456789ab", "x.1-0-0123456789ab", "111.1-0-0123456789ab"):
        assert runner.run(*replay, wrong).code == MISUSED
    assert "partition" in refusal(runner.run(*replay, "9.1-0-0123456789ab"))


def test_tokens(runner, monkeypatch):
    """Signing keys lie in the first partition, and keys of every partition get tokens."""
    monkeypatch.setenv("AUTHZ_TOKENS__ISSUER", "https://auth.example.com")
    made = runner.run("tokens", "keys", "rotate", "--now", "--json")
    assert made.code == 0, made.err
    (key,) = runner.run("tokens", "keys", "list", "--json").document["keys"]
    admin, parts = runner.valkey.admin, runner.endpoint.partitions()
    assert [admin.exists(part.names.signing) for part in parts] == [1] + [0] * 7
    keys = [runner.issue(client=f"c{number}") for number in range(6)]
    assert len({PARTITIONS.of(kid) for kid, _ in keys}) > 2
    for kid, text in keys:
        issued = until(
            lambda text=text: runner.run("tokens", "issue", stdin=text), lambda done: not done.code
        )
        token = issued.out
        found = runner.run("tokens", "inspect", "--json", stdin=token)
        assert json.dumps(found.document).count(kid), found.err
    assert runner.run("tokens", "keys", "remove", key["id"], "--yes").code in {0, MISUSED}


def test_blocked_clients(runner):
    """Addresses belong to no key: they lie in the first partition, as does the row about them."""
    assert runner.run("abuse", "allow", "203.0.113.0/24").code == 0
    admin, parts = runner.valkey.admin, runner.endpoint.partitions()
    assert [admin.exists(part.names.allowed) for part in parts] == [1] + [0] * 7
    assert "203.0.113.0/24" in runner.run("abuse", "list").out
    assert runner.run("audit", "verify").code == 0


def test_a_secret_that_is_delivered(runner):
    """A rotation with a delivery works in every partition; the secret is where its holder reads."""
    (runner.directory / "secrets").mkdir(mode=0o700)
    target = f"{{kind: directory, directory: {runner.directory}/secrets}}"
    options = write_settings(runner, f"rotation: {{targets: {{here: {target}}}}}\n")
    for number in range(4):
        kid, before = runner.issue(client=f"c{number}")
        done = runner.run(*options, "keys", "rotate", kid, "--to", "here", "--json")
        assert done.code == 0, done.err
        (file,) = [one for one in (runner.directory / "secrets").rglob("*") if kid in str(one)]
        assert file.read_text().strip() not in {"", before}
        names = runner.names(kid)
        assert not runner.valkey.admin.exists(names.deliveries)  # it has ended


def types_of(runner, kids):
    """Return the types of the records of these keys in the store."""
    parts = runner.endpoint.partitions()
    return [runner.valkey.admin.type(parts[PARTITIONS.of(kid)].names.key(kid)) for kid in kids]


def without_mark(runner, mark):
    """Take a mark from authz:meta of each partition, as in a store of an earlier version."""
    for part in runner.endpoint.partitions():
        runner.valkey.admin.hdel(part.names.meta, mark)


def test_compacting_goes_through_all_partitions(runner):
    """There is one report. A run that failed in one partition goes on with it."""
    without_mark(runner, "compact")
    kids = [runner.issue(client=f"c{number}")[0] for number in range(12)]
    homes = [PARTITIONS.of(kid) for kid in kids]
    assert runner.run("compact", "--dry-run", "--json").document["written"] == len(kids)
    lost = max(homes)
    meta = runner.endpoint.partitions()[lost].names.meta
    kept = runner.valkey.admin.hgetall(meta)
    listed = runner.endpoint.partitions()[lost].names.log
    log = runner.valkey.admin.dump(listed)
    runner.valkey.admin.delete(listed)
    runner.valkey.admin.set(listed, "no log")
    stopped = runner.run("compact")
    assert (stopped.code, f"partition {lost}: " in stopped.err) == (3, True), stopped.err
    assert set(types_of(runner, [kids[homes.index(min(homes))]])) == {"string"}
    runner.valkey.admin.restore(listed, 0, log, replace=True)
    done = runner.run("compact", "--json")
    assert (done.code, done.document["looked_at"]) == (0, len(kids)), done.err
    assert set(types_of(runner, kids)) == {"string"}
    assert "compact" in runner.valkey.admin.hgetall(meta).keys() - kept.keys()
    assert runner.run("compact", "--json").document["written"] == 0
    back = runner.run("compact", "--undo")
    assert back.out.startswith("12 records looked at, 12 written as a hash\n12 ids")
    assert set(types_of(runner, kids)) == {"hash"}


def test_resealing_goes_through_all_partitions(runner):
    """All records get a seal, each partition its mark, and a wrong seal is accepted where it is."""
    without_mark(runner, "compact")
    kids = [runner.issue(client=f"c{number}")[0] for number in range(12)]
    without_mark(runner, "sealed")
    parts, admin = runner.endpoint.partitions(), runner.valkey.admin
    names = [parts[PARTITIONS.of(kid)].names.key(kid) for kid in kids]
    for name in names:
        admin.hdel(name, "seal")
    rehearsed = runner.run("reseal", "--dry-run", "--json").document
    assert (rehearsed["sealed"], rehearsed["marked"]) == (12, False)
    done = runner.run("reseal")
    assert done.out == "12 records looked at, 12 sealed\nrecords without a seal are refused\n"
    assert all(admin.hexists(part.names.meta, "sealed") for part in parts)
    admin.hset(names[5], "client_id", "mallory")
    refused = runner.run("reseal", "--json")
    assert refused.code == 1
    assert [one["kid"] for one in refused.document["refused"]] == [kids[5]]
    accepted = runner.run("reseal", "--accept", kids[5])
    assert (accepted.code, accepted.out) == (0, f"{kids[5]}: sealed as it is, active\n")
    assert runner.run("reseal", "--json").document["looked_at"] == 12
