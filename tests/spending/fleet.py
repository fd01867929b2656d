"""A fleet of processes that spend from the same limits, killed and paused while they do."""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from authz.core.limits.limit import OnOutage, parse_limits
from tests.spending.history import Rate, read, used, violations
from tests.support.fakes import issue_record, make_keyring
from tests.support.real import Valkey

KEYRING = make_keyring()
LARGE, SMALL = Rate(3000, 1), Rate(50, 1)
MINUTE = Rate(60_000, 60)
RATES = [[LARGE, MINUTE, Rate(1_000_000, 31 * 86_400)], [SMALL]]
KEYS = [
    issue_record(
        KEYRING,
        kid=kid,
        limits=parse_limits("limits", texts),
        on_outage=OnOutage.DENY,  # nothing passes here that the store has not counted
    )
    for kid, texts in (
        ("large00000000000", ("3000/s", "60000/min", "1000000/month")),
        ("small00000000000", ("50/s",)),
    )
]


@dataclass
class Outcome:
    """The result of a run. used: the part of each key's limit that was used under demand."""

    violations: list[str] = field(default_factory=list)
    used: dict[str, float] = field(default_factory=dict)
    admitted: list[int] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    calls: int = 0


class Fleet:
    """`size` workers on one store, each offering its part of `times` the limits."""

    def __init__(self, size: int, times: float, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="authz-fleet-"))
        self.valkey = Valkey()
        self.options = options
        share = ",".join(str(times * rates[0].limit / size) for rates in RATES)
        self.arguments = [share, *options]
        self.size = size
        self.workers: list[subprocess.Popen] = []
        self.started = 0
        self.faults = {"kill": 0, "pause": 0}

    def run(self, seconds: float, *, faults: bool, seed: int = 0) -> Outcome:
        """Start all, disturb them, end them, judge."""
        chance = random.Random(seed)
        with self.valkey:
            self.valkey.admin.config_resetstat()
            try:
                self.workers = [self.start() for _ in range(self.size)]
                for worker in self.workers:
                    assert worker.stdout.readline() == b"ready\n"
                for worker in self.workers:
                    self.go(worker)
                began = time.monotonic()
                while time.monotonic() < began + seconds:
                    time.sleep(chance.uniform(0.2, 0.6))
                    if faults and time.monotonic() < began + seconds - 1:
                        self.disturb(chance)
            finally:
                for worker in self.workers:
                    self.end(worker)
            calls = (
                self.valkey.admin.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
            )
        return self.judge(seconds, calls)

    def start(self) -> subprocess.Popen:
        self.started += 1
        file = self.directory / f"{self.started}.admitted"
        command = [sys.executable, "-m", "tests.spending.worker", self.valkey.url, str(file)]
        return subprocess.Popen(
            [*command, *self.arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def go(self, worker: subprocess.Popen) -> None:
        worker.stdin.write(b"go\n")
        worker.stdin.flush()

    def end(self, worker: subprocess.Popen) -> None:
        worker.kill()
        worker.wait()
        worker.stdin.close()
        worker.stdout.close()

    def disturb(self, chance: random.Random) -> None:
        """Kill one and start another, or stop one for a while."""
        place = chance.randrange(self.size)
        if chance.random() < 0.3:
            self.faults["kill"] += 1
            self.end(self.workers[place])
            self.workers[place] = self.start()
            assert self.workers[place].stdout.readline() == b"ready\n"
            self.go(self.workers[place])
        else:
            self.faults["pause"] += 1
            self.workers[place].send_signal(signal.SIGSTOP)
            time.sleep(chance.choice((0.005, 0.03, 0.2, 0.7)))
            self.workers[place].send_signal(signal.SIGCONT)

    def judge(self, seconds: float, calls: int) -> Outcome:
        """By what all of them wrote down."""
        admissions = read(sorted(self.directory.glob("*.admitted")))
        outcome = Outcome(faults=self.faults, calls=calls)
        for key, rates in enumerate(RATES):
            found = admissions.get(key, [])
            outcome.admitted.append(len(found))
            name = f"{rates[0].limit}/s"
            outcome.violations += [f"{name}: {text}" for text in violations(found, rates)]
            outcome.used[name] = used(found, rates[0])
        if seconds * LARGE.limit > 1.3 * MINUTE.limit:
            outcome.used["60000/min"] = outcome.admitted[0] / MINUTE.limit
        shutil.rmtree(self.directory)
        return outcome
