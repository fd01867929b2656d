"""`authz usage export` on a real store."""

import csv
import io
import json
import time
from pathlib import Path

import pytest

from tests.cli.in_process.test_usage import _count
from tests.support.cli.in_process import refusal
from tests.support.usage import line

HOUR = 3_600_000


@pytest.fixture
def count(runner):
    """A function that counts a request of a key that ended so many hours ago."""
    import asyncio

    def add(kid, hours_ago=5, times=1, **other):
        now = time.time_ns() // 1_000_000
        ended = (now // HOUR - hours_ago) * HOUR + 60_000
        lines = [line(kid=kid, started=ended, milliseconds="0", **other) for _ in range(times)]
        asyncio.run(_count(runner.valkey.endpoint, lines, now))

    return add


def test_try(runner, count):
    kid, _ = runner.issue()
    count(kid, 5, 3)
    count(kid, 0)
    count(kid, 700, charged="4", route="=cmd")
    for form in ("jsonl", "csv", "cloudevents"):
        done = runner.run("usage", "export", "--format", form)
        print(done)
    print(runner.run("usage", "export", "--cursor", "c", "--to", "f", "--json"))
    count(kid, 5, 1)
    print(runner.run("usage", "export", "--cursor", "c", "--to", "f", "--json", "--dry-run"))
    print(runner.run("usage", "export", "--cursor", "c", "--to", "f", "--json"))
    print(runner.run("usage", "export", "--cursor", "c", "--to", "f", "--json"))
    print(runner.run("usage", "export", "--cursor", "c2", "--to", "f.parquet", "--format", "parquet"))
    print(Path("f").read_text())
    import os; print(os.listdir())
    assert 0
