"""Rotations without a person, as `authz admin` puts them together."""

import asyncio
from pathlib import Path

from authz.core.begun_delivery import UNDECIDED_MS
from authz.core.new_keys import KeySpec
from authz.flows.lifecycle import Lifecycle
from authz.settings.model import load
from authz.wiring.deliveries import delivered_rotation
from authz.wiring.rotation import rotation_works
from authz.wiring.store_parts import StoreParts
from tests.support.fakes import FakeClock, make_keyring


async def test_the_settings_lost_their_only_target(valkey, tmp_path: Path):
    """A delivery that has begun is decided all the same: the holder keeps the secret it has."""
    ring, clock = make_keyring(), FakeClock()
    targets = {"targets": {"files": {"kind": "directory", "directory": str(tmp_path / "gone")}}}
    async with valkey.endpoint.client() as client:
        parts = StoreParts.of_one(client)
        lifecycle = Lifecycle(parts.keys, ring, clock)
        author = lifecycle.author("tests")
        made = await lifecycle.issue(KeySpec(client_id="acme", env="live", life_ms=None), author)
        before = delivered_rotation(
            load(None, {"rotation": targets}, {}), parts, lifecycle, ring, clock
        )
        kid = made.record.kid
        await before.begin(made.record, "files", 3_600_000, author)
        await before.resume(kid, (await before.pending())[kid])

        settings = load(None, {}, {})
        found = rotation_works(
            *(
                settings,
                parts,
                lifecycle,
                delivered_rotation(settings, parts, lifecycle, ring, clock),
            ),
            clock,
            instance="one",
            is_ours=lambda: True,
        )
        clock.advance(UNDECIDED_MS / 1000)
        async with asyncio.timeout(30), asyncio.TaskGroup() as running:
            tasks = [running.create_task(work()) for work in found.works]
            while not found.automatic.undecided:  # counted at the end of a look
                await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
        old, _ = (await parts.keys.find(kid)).secrets
        assert old.retires_at is None
        assert (found.automatic.pending, found.automatic.undecided) == (1, 1)
