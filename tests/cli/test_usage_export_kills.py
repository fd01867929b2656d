"""`authz usage export` as a process that is killed, has a full disk, or runs twice."""

import asyncio
import contextlib
import json
import random
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.cli.billing_receivers import KEY, Receiver, Stripe, listening
from tests.support.cli.in_process import CommandRunner
from tests.support.cli.terminal import AUTHZ, execute
from tests.support.real import Valkey
from tests.support.usage import line
from tests.support.usage_counting import count_entries

HOUR = 3_600_000
EXPORT = ("usage", "export", "--cursor", "c", "--json")
KEYS, HOURS, ROUTES = 6, 20, 5
COUNTED = KEYS * HOURS * ROUTES  # records of one unit; a batch over HTTP has 500
SEED = 20261129


@pytest.fixture
def used(tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> CommandRunner:
    """An installation with some requests in each of some hours, by keys and routes."""
    runner = CommandRunner(tmp_path, valkey, monkeypatch)
    count_again(runner)
    return runner


def count_again(runner: CommandRunner) -> None:
    """Count one request more in every hour, by keys and routes."""
    now = time.time_ns() // 1_000_000
    lines = [
        line(
            kid=f"{key:016d}",
            started=(now // HOUR - 4 - hour) * HOUR,
            milliseconds="0",
            route=f"r{route}",
        )
        for key in range(KEYS)
        for hour in range(HOURS)
        for route in range(ROUTES)
    ]
    asyncio.run(count_entries(runner.valkey.endpoint, lines, now))


def start(*options: str) -> subprocess.Popen[bytes]:
    """Start an export."""
    return subprocess.Popen(
        [*AUTHZ, *EXPORT, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_killed_between_receiver_and_cursor(used):
    """Killed before and after the receiver took a batch: the same ids come, and nothing is lost."""
    receiver = Receiver()
    plan = [(0, False), (0, True), (1, False), (1, True), (2, True), (0, True)]
    running: list[subprocess.Popen[bytes]] = []
    asked = [0]

    def answer(*request):
        at, is_taken = plan[len(running) - 1]
        number, asked[0] = asked[0], asked[0] + 1
        if number == at:
            if is_taken:
                receiver.take(*request)
            running[-1].send_signal(signal.SIGKILL)
            running[-1].wait()
            return None
        return receiver.take(*request)

    receiver.answer = answer
    with listening(receiver):
        options = ("--to", receiver.url, "--unit", "ok")
        for attempt in range(len(plan)):
            asked[0] = 0
            running.append(start(*options))
            running[-1].wait(60)
            if attempt == 2:
                count_again(used)
        killed = [process.returncode for process in running].count(-signal.SIGKILL)
        receiver.answer = receiver.take
        done = execute(*EXPORT, *options)
        assert done.code == 0
        assert execute(*EXPORT, *options).document["records"] == 0
    assert killed >= 4
    assert receiver.total() == 2 * COUNTED
    assert receiver.repeats > 0


def test_killed_while_stripe_counts(used):
    """Killed after each twentieth event, Stripe has counted each record once in the end."""
    Path("key").write_text(KEY)
    Path("ids").write_text("client acme-web cus_1\n")
    where = ("--to", "stripe:api_requests", "--unit", "ok", "--token-file", "key")
    stripe, running = Stripe(), list[subprocess.Popen[bytes]]()

    def answer(*request):
        answered = stripe.create(*request)
        if len(running) < 6 and len(stripe.known) == 20 * len(running):
            running[-1].kill()
            running[-1].wait()
            return None
        return answered

    stripe.answer = answer
    with listening(stripe):
        options = (*where, "--customers", "ids", "--stripe-url", stripe.url, "--since", "8h")
        for _ in range(6):
            running.append(start(*options))
            running[-1].wait(60)
    assert [each.returncode for each in running] == [-signal.SIGKILL] * 5 + [0]
    assert stripe.sums() == {"cus_1": len(stripe.counted)}
    assert len(stripe.requests) > len(stripe.counted) > 100


def test_killed_at_any_time(used):
    """Killed at random moments, also within a write: the file has each id with one content."""
    rnd = random.Random(SEED)
    for attempt in range(8):
        process = start("--to", "f", "--unit", "ok")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rnd.uniform(0.3, 1.5))
        process.kill()
        process.wait()
        if attempt == 4:
            count_again(used)
    done = execute(*EXPORT, "--to", "f", "--unit", "ok")
    assert (done.code, done.err) == (0, "")
    found: dict[str, dict] = {}
    for text in Path("f").read_text().splitlines():
        record = json.loads(text)
        assert found.setdefault(record["id"], record) == record
    assert sum(record["quantity"] for record in found.values()) == 2 * COUNTED


@pytest.mark.parametrize(("most", "name"), [(4_000, "c"), (40_000, "c"), (200_000, "f")])
def test_a_full_disk(used, most, name):
    """One line tells whether the cursor or the file has no room; nothing is lost."""
    options = ("--to", "f", "--unit", "ok", "--format", "cloudevents")

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    done = execute(*EXPORT, *options, preexec_fn=bounded)
    assert done.code == 3
    assert done.error.startswith(f"authz: {name}: ")
    assert not list(Path().glob("c.*"))  # no draft of a cursor
    assert execute(*EXPORT, *options).code == 0
    events = [json.loads(text) for text in Path("f").read_text().splitlines()]
    quantities = {event["id"]: event["data"]["quantity"] for event in events}
    assert sum(quantities.values()) == COUNTED


def test_two_exports_at_once(used):
    """The second one on a cursor is refused, and the first one goes on."""
    receiver, second = Receiver(), []

    def answer(*request):
        if not second:
            second.append(execute(*EXPORT, "--to", receiver.url, "--unit", "ok"))
        return receiver.take(*request)

    receiver.answer = answer
    with listening(receiver):
        first = execute(*EXPORT, "--to", receiver.url, "--unit", "ok")
    assert (first.code, first.document["records"]) == (0, COUNTED)
    assert second[0].code == 3
    assert "another export uses this cursor" in second[0].error
    assert receiver.total() == COUNTED


def test_a_reader_that_ends(used):
    """`| head` ends the export without a traceback."""
    command = f"{' '.join(AUTHZ)} usage export | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, check=False
    )
    assert done.returncode == 141
    assert json.loads(done.stdout)["revision"] == 1
    assert b"Traceback" not in done.stderr
