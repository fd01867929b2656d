"""The run book's recovery of a store that lost its data, executed as written, under load."""

import asyncio
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from authz.core.new_keys import KeySpec
from tests.chaos.caches import Asked, Leased
from tests.chaos.checker import Bounds
from tests.chaos.history import Outcome
from tests.chaos.rules import HELD, Rules, settings_text
from tests.support.cli.terminal import environment
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.sidecar import administration

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "docs" / "operations.md"
PAUSE = 0.002  # seconds between two requests: 500 a second
GRACE = 0.3  # seconds; short, so that requests without a cached key come soon
ALLOWS = {Outcome.ALLOW, Outcome.STALE_ALLOW}


def written_commands() -> list[str]:
    """Return the commands of the section, in order."""
    section = BOOK.read_text().partition("## The store lost its data\n")[2].partition("\n## ")[0]
    return re.findall(r"^\$ (authz .+)$", section, re.MULTILINE)


class Load:
    """Asks sidecars for random keys and counts the outcomes of each key."""

    def __init__(self, sidecars, texts):
        self.sidecars = sidecars
        self.keys = {kid: Asked.of(text) for kid, text in texts.items()}
        self.outcomes = {kid: Counter() for kid in texts}

    async def run(self):
        """Ask until cancelled."""
        while True:
            kid = random.choice(list(self.keys))
            answer = await random.choice(self.sidecars).answer(self.keys[kid], 0)
            self.outcomes[kid][answer] += 1
            await asyncio.sleep(PAUSE)

    async def all_allowed(self, kids):
        """Return whether every sidecar allows each of these keys now."""
        answers = [await one.answer(self.keys[kid], 0) for one in self.sidecars for kid in kids]
        return set(answers) == {Outcome.ALLOW}


@pytest.fixture
def run_command(tmp_path, own_valkey):
    """Execute a command of the book in a shell. Its directory is the test's."""
    directory = tmp_path / "backups"
    directory.mkdir()

    def run(command):
        words = command.replace("authz ", f"{sys.executable} -m authz.cli.main ", 1)
        subprocess.run(
            ["sh", "-ec", words.replace("/var/backups", str(directory))],
            cwd=tmp_path,
            env=environment(own_valkey.url, tmp_path) | {"PYTHONPATH": str(ROOT)},
            check=True,
        )

    (tmp_path / "authz-pepper-1").write_bytes(b"1" * 32)
    run("authz init")
    return run


async def test_the_recovery(own_valkey, run_command, tmp_path):
    """No good key gets 401, no revoked key is allowed, and kids and history are as before."""
    back_up, restore = written_commands()
    async with administration(own_valkey.endpoint) as admin:
        flow, scopes = admin.lifecycle, frozenset({HELD})
        spec = KeySpec(client_id="acme-web", env="live", life_ms=None, scopes=scopes)
        issued = [await flow.issue(spec, flow.author("test")) for _ in range(30)]
        texts = {found.record.kid: found.key_text for found in issued}
        good, revoked = list(texts)[:20], list(texts)[20:]
        for kid in revoked:
            await admin.revoke(kid)
        before = {kid: await flow.show(kid) for kid in texts}

        rules = tmp_path / "rules.yaml"
        rules.write_text(settings_text(Rules.FIRST))
        sidecars = [Leased(own_valkey.endpoint, Bounds(1.0), GRACE, rules) for _ in range(2)]
        load = Load(sidecars, texts)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each.run()) for each in (*sidecars, load)]
            await eventually(lambda: load.all_allowed(good))
            await asyncio.to_thread(run_command, back_up)

            own_valkey.admin.flushall()
            for sidecar in sidecars:
                await eventually(
                    lambda sidecar=sidecar: (
                        "data is gone: it was at change 40" in sidecar.parts[0].feed.reason
                    )
                )
            await eventually(lambda: all(load.outcomes[kid][Outcome.UNAVAILABLE] for kid in good))
            await asyncio.to_thread(run_command, restore)
            await eventually(lambda: load.all_allowed(good))
            for task in running:
                task.cancel()

        assert {kid: await flow.show(kid) for kid in texts} == before
        assert int(own_valkey.admin.get(stored.SEQ)) == 41
    for kid in good:
        assert load.outcomes[kid].keys() <= {*ALLOWS, Outcome.UNAVAILABLE}
    for kid in revoked:
        assert not load.outcomes[kid].keys() & ALLOWS
