"""The store is moved from one partition to eight, as clients of a real Envoy see it."""

import asyncio
import os
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing

import pytest

from authz.core.records import RevocationReason
from authz.wiring.administration import administration
from authz.wiring.partition_count import sized
from tests.support.system import PATIENCE, Installation, ask, readiness, running, until

COUNT = 8


def moved(installation: Installation) -> None:
    """Move the store by the command."""
    command = [sys.executable, "-m", "authz.cli.main", "--config", installation.stack.config]
    subprocess.run(
        [*command, "init", "--reshard", "--yes"],
        env=os.environ | {"AUTHZ_REDIS__PARTITIONS": str(COUNT)},
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )


def test_clients_notice_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cached keys are allowed all the time, the meter counts on, and changes arrive after it."""
    monkeypatch.setenv("AUTHZ_OUTAGE__GRACE", "5m")
    with running() as (stack, _):
        installation = Installation(stack)
        keys = [installation.issue(client_id=f"client-{n}") for n in range(6)]
        found: Counter[int] = Counter()
        ended = threading.Event()

        def load() -> None:
            with closing(installation.client()) as client:
                while not ended.is_set():
                    found.update(ask(client, key.key_text).status for key in keys)

        with closing(installation.client()) as client:
            assert [ask(client, key.key_text).status for key in keys] == [200] * len(keys)
            thread = threading.Thread(target=load)
            thread.start()
            try:
                moved(installation)
                until(
                    lambda: readiness(installation)["components"]["store"].get("partitions"),
                    lambda count: count == COUNT,
                )
                before = found.total()
                until(found.total, lambda number: number > before + 2 * len(keys))
            finally:
                ended.set()
                thread.join()
            assert set(found) == {200}

            async def revoke() -> None:
                async with administration(sized(installation.settings, COUNT)) as lifecycle:
                    why = RevocationReason.KEY_COMPROMISE
                    await lifecycle.revoke(keys[0].record.kid, why, lifecycle.author("tests"))

            asyncio.run(revoke())
            until(lambda: ask(client, keys[0].key_text).status, lambda status: status == 401)
            assert [ask(client, k.key_text).status for k in keys] == [401] + [200] * 5
