"""A store with one of everything, and all that a reader sees of it."""

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from authz.core.leaks import HOUR_MS, ReportProgress
from authz.core.limits.key_limits import Owner
from authz.core.merging import Applied
from authz.core.notifications.ports import DeadLetter, Progress
from authz.core.usage.anomalies.ports import Round
from authz.settings import model
from authz.storage.applied import StoredApplied
from authz.storage.deliveries import StoredDeliveries
from authz.storage.leak_memory import StoredLeakMemory
from authz.storage.limits.spend_script import SPEND
from authz.storage.notifications import StoredLetters, StoredNotifications, StoredReplays
from authz.storage.schema import Names, names_of
from authz.storage.session_ends import StoredSessionEnds
from authz.storage.signing_keys import StoredSigningKeys
from authz.storage.usage.habits import StoredHabits
from authz.wiring import administration
from authz.wiring.store_parts import StoreParts
from tests.support.cli.in_process import CommandRunner
from tests.support.usage import line, of_model
from tests.support.usage_counting import count_entries

DAY = 86_400_000
SINK = "siem"
SESSION = "5" * 64
REPORT, OPEN_REPORT = "a report", "another report"
NETWORK = "198.51.100.0/24"
ADDRESS = "203.0.113.9"
PERIOD = 2  # kind of a counter, as in lua/spend.lua
NEVER = 7_258_118_400_000


def settings() -> model.Settings:
    """Return the settings of the environment."""
    return model.load(environ=os.environ)


def in_parts(work: Callable[[StoreParts], Awaitable[Any]]) -> Any:
    """Return what `work` returns about the store of the environment."""

    async def run() -> Any:
        found = settings()
        async with administration.our_parts(found, administration.keyring(found)) as parts:
            return await work(parts)

    return asyncio.run(run())


def fill(runner: CommandRunner, rng: random.Random, keys: int = 24) -> list[str]:
    """Put keys of many owners into the store, in every state, with all that belongs to them.

    Return their kids. Three more were deleted.
    """
    kids = []
    for number in range(keys + 3):
        owner = ["--limit", "1000/h"]
        owner += ["--tenant", f"tenant-{rng.randrange(6)}"] if rng.random() < 0.6 else []
        owner += ["--project", f"project-{rng.randrange(4)}"] if rng.random() < 0.6 else []
        kid, _ = runner.issue(*owner, "--name", f"key {number}", client=f"c{rng.randrange(9)}")
        kids.append(kid)
    for text in ("sk-old-1234567890abcdef", "sk-old-abcdef1234567890"):
        given = json.dumps({"key": text, "client": f"c{rng.randrange(9)}"})
        done = runner.run("keys", "import", "--json", stdin=given)
        assert done.code == 0, done.err
        kids.append(done.document["rows"][0]["kid"])
    for kid in rng.sample(kids[:keys], keys // 4):
        assert runner.run("keys", "revoke", kid).code == 0
    for kid in rng.sample(kids[:keys], keys // 4):
        runner.run("keys", "disable", kid)
        runner.run("keys", "update", kid, "--plan", "pro")
    deleted = kids[keys : keys + 3]
    count_uses(runner, kids, rng)
    for kid in deleted:
        assert runner.run("keys", "revoke", kid).code == 0
        assert runner.run("keys", "delete", kid).code == 0
    kids = [kid for kid in kids if kid not in deleted]
    assert runner.run("usage", "erase", "--key", kids[0]).code == 0
    in_parts(lambda parts: _fill(parts, kids, rng))
    assert runner.run("audit", "seal").code == 0
    return kids


def count_uses(runner: CommandRunner, kids: list[str], rng: random.Random) -> None:
    """Count some hundred requests of these keys, on several days and routes, and one of none."""
    now = time.time_ns() // 1_000_000
    lines = []
    for kid in kids:
        for _ in range(rng.randrange(12)):
            about = {
                "route": rng.choice(["models", "files"]),
                "address": f"203.0.113.{rng.randrange(9)}",
            }
            about["started"] = now - rng.randrange(3) * DAY - rng.randrange(9) * 60_000
            about["code"] = rng.choice(["200", "200", "404", "503"])
            lines.append(line(kid=kid, **about))
        lines.append(of_model("m", "10,20,0,0,0", kid=kid, started=now))
    lines.append(line(kid="-", code="401", reason="missing_credential", charged="-", started=now))
    asyncio.run(count_entries(runner.endpoint, lines, now))


def count_uses_of(runner: CommandRunner, kids: list[str], at: int) -> None:
    """Count a request of each of these keys. at: when it ended, in ms since the epoch."""
    lines = [line(kid=kid, started=at, milliseconds="0") for kid in kids]
    asyncio.run(count_entries(runner.endpoint, lines, time.time_ns() // 1_000_000))


async def _fill(parts: StoreParts, kids: list[str], rng: random.Random) -> None:
    client = parts.clients[0]
    await StoredApplied(client).save({kid: Applied(1, {"name": "declared"}) for kid in kids[3:9]})
    for kid in kids[5:8]:
        await StoredDeliveries(client).begin(kid, json.dumps({"target": "vault", "kid": kid}))
    notes = StoredNotifications(client)
    await notes.save(SINK, Progress("2-0", "2-0-abc", 5, 2))
    await StoredLetters(client).put(
        SINK, "1-0-dead", DeadLetter("authz.key.revoked", kids[0], 7, "no")
    )
    await StoredReplays(client).ask(SINK, ["1-0-again"])
    await StoredSessionEnds(client).end(SESSION, 77, DAY)
    memory = StoredLeakMemory(client)
    await memory.remember(REPORT, ReportProgress(is_over=True), DAY)
    await memory.remember(OPEN_REPORT, ReportProgress(entry_states=["held"]), DAY)
    await memory.take_places(kids[:2], HOUR_MS, 5)
    await StoredSigningKeys(client).add("signer", "{}", "sealed")
    names: Names = names_of(client)
    await client.hset(names.blocked, ADDRESS, str(time.time_ns() // 1_000_000 + DAY))
    await client.hset(names.allowed, NETWORK, "tests")
    await client.incr(names.abuse_version)
    await client.xadd(names.seen, {"kid": kids[1], "kind": "canary"})
    await client.zadd(names.issued, {"00112233445566 9 old": time.time()})
    await client.set(names.request("7" * 64), "a seed", px=DAY)
    await StoredHabits(client).finish(Round(5, 3, 2, 0, {}))
    for kid in kids[:6]:
        await client.hset(f"{names.usage}odd:20000", f"{kid}:480001", "[]")
    groups = [*kids[::2], *(f"tenant:tenant-{at}" for at in range(6))]
    groups += [f"project:tenant-1/project-{at}" for at in range(4)]
    for group in groups:
        await spend(client, names.limit(group), rng.randrange(1, 900))


async def spend(client: Any, name: str, units: int) -> int:
    """Take units of a credit of 1,000 from a group of limits; return how many are left."""
    counter = bytes([PERIOD, 1]) + b"".join(
        number.to_bytes(size) for number, size in ((1000, 8), (units, 4), (0, 8), (NEVER, 8))
    )
    words = [1, 0, 0, 0, "", 0, 0, counter, "credits"]
    found = await client.eval(SPEND, 1, name, *words)
    return int(found[2])


def everything(runner: CommandRunner, kids: list[str]) -> dict[str, Any]:
    """Return all that commands and readers show of the store, apart from the partitions."""

    def shown(*arguments: str) -> Any:
        done = runner.run(*arguments, "--json")
        assert done.code == 0, (arguments, done.err)
        return done.document

    found: dict[str, Any] = {"keys": shown("keys", "list", "--limit", "1000")["keys"]}
    for kid in kids:
        found[f"show {kid}"] = shown("keys", "show", kid)
        found[f"history {kid}"] = shown("keys", "history", kid)
        found[f"limits {kid}"] = shown("keys", "limits", kid)
        for by in ("minute", "hour", "month"):
            found[f"usage {kid} {by}"] = shown("usage", "--key", kid, "--by", by)["rows"]
    for by in ("hour", "day", "month", "route", "status", "model"):
        usage = shown("usage", "--by", by)
        found[f"usage {by}"] = (usage["rows"], usage["total"], usage.get("denied_by_reason"))
    for by in ("requests", "units", "denied"):
        found[f"top {by}"] = sorted(
            map(str, shown("usage", "top", "--by", by, "--limit", "100")["keys"])
        )
    found["abuse"] = shown("abuse", "list")
    found["verified"] = runner.run("audit", "verify").code
    found["applied"] = in_parts(_applied)
    found["deliveries"] = in_parts(lambda parts: parts.pending_deliveries.all())
    found["limits"] = in_parts(lambda parts: _limits(parts, kids))
    found["of no key"] = in_parts(_of_no_key)
    return found


async def _applied(parts: StoreParts) -> Any:
    return dict(await parts.applied.load())


async def _limits(parts: StoreParts, kids: list[str]) -> Any:
    """Return all fields of all counters, in the partition in which each is used."""
    found = {}
    for kid in kids:
        record = await parts.keys.find(kid)
        assert record is not None
        client = parts.clients[parts.partitions.home_of(record)]
        names = names_of(client)
        pool = f"{record.tenant_id}/{record.project_id}" if record.tenant_id else record.project_id
        for group in (kid, f"{Owner.TENANT}:{record.tenant_id}", f"{Owner.PROJECT}:{pool}"):
            name = names.limit(group)
            found[group] = (await client.hgetall(name), await client.pexpiretime(name))
    return found


async def _of_no_key(parts: StoreParts) -> Any:
    client = parts.clients[0]
    names = names_of(client)
    return {
        "progress": await StoredNotifications(client).load(SINK),
        "letters": await StoredLetters(client).all(SINK),
        "again": await StoredReplays(client).asked(SINK),
        "session": await StoredSessionEnds(client).ended([SESSION]),
        "reports": [await StoredLeakMemory(client).progress(one) for one in (REPORT, OPEN_REPORT)],
        "leaked": await client.hgetall(names.leaked),
        "signing": (
            dict(await StoredSigningKeys(client).entries()),
            await StoredSigningKeys(client).private_half("signer"),
        ),
        "seen": await client.xrange(names.seen),
        "issued": await client.zrange(names.issued, 0, -1, withscores=True),
        "request": await client.get(names.request("7" * 64)),
        "judged": await StoredHabits(client).latest(),
    }
