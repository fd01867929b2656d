"""Failures of components, as a client sees them, with a grace of 0."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from authz.core.edits import Revoke
from authz.core.records import RevocationReason
from authz.core.sidecars import Confirmation
from authz.flows.by import By
from authz.wiring import administration
from tests.support.system import PATIENCE, PATIENT, Installation, ask, readiness, until


@pytest.fixture(autouse=True)
def without_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the outage grace to 0."""
    monkeypatch.setenv("AUTHZ_OUTAGE__GRACE", "0")


def test_a_hung_store_is_a_503_within_the_lease_and_heals(own_installation: Installation) -> None:
    """A hung store ends trust, the answer is 503, and service returns with the store."""
    key, store = own_installation.stack.key, own_installation.stack.pids["store"]
    with closing(own_installation.client()) as client:
        assert ask(client, key).status == 200

        os.kill(store, signal.SIGSTOP)
        answer = until(lambda: ask(client, key), lambda seen: seen.status != 200)
        reasons = readiness(own_installation)
        os.kill(store, signal.SIGCONT)
        healed = until(lambda: ask(client, key), lambda seen: seen.status == 200)

    assert str(answer) == "503 unavailable"
    assert reasons["status"] == "not_ready"
    assert reasons["components"]["store"]["reason"] != ""
    assert healed.status == 200


def test_an_emptied_store_makes_no_good_key_unknown(own_installation: Installation) -> None:
    """After FLUSHALL a good key gets 503 and never 401."""
    key = own_installation.stack.key
    fresh = own_installation.issue().key_text
    port = own_installation.stack.redis.rsplit(":", 1)[1].split("/")[0]
    with closing(own_installation.client()) as client:
        subprocess.run(
            [sys.executable, "-c", f"import redis; redis.Redis(port={port}).flushall()"], check=True
        )
        uncached = ask(client, fresh)
        answer = until(lambda: ask(client, key), lambda seen: seen.status != 200)

    assert str(uncached) == "503 unavailable"
    assert str(answer) == "503 unavailable"


def test_a_dead_sidecar_is_a_503(own_installation: Installation) -> None:
    """Without a sidecar Envoy answers 503."""
    with closing(own_installation.client()) as client:
        assert ask(client, own_installation.stack.key).status == 200

        os.kill(own_installation.stack.pids["sidecar"], signal.SIGKILL)
        seen = [ask(client, own_installation.stack.key).status for _ in range(20)]

    assert set(seen) == {503}


def test_a_restarted_sidecar_serves_again(own_installation: Installation) -> None:
    """`authz --config FILE serve` replaces a sidecar that has ended."""
    stack = own_installation.stack
    os.kill(stack.pids["sidecar"], signal.SIGKILL)
    command = [sys.executable, "-m", "authz.cli.main", "--config", stack.config, "serve"]
    with (
        closing(own_installation.client()) as client,
        subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | PATIENT) as sidecar,
    ):
        healed = until(lambda: ask(client, stack.key), lambda seen: seen.status == 200)
        sidecar.terminate()
        status = sidecar.wait(PATIENCE)

    assert healed.status == 200
    assert status == 0


def test_revoked_while_the_store_is_away_for_a_moment(own_installation: Installation) -> None:
    """A revocation that was confirmed just before the store hangs holds."""
    issued = own_installation.issue()
    with closing(own_installation.client()) as client:
        assert ask(client, issued.key_text).status == 200

        found = asyncio.run(revoke(own_installation, issued.record.kid))
        os.kill(own_installation.stack.pids["store"], signal.SIGSTOP)
        seen = {ask(client, issued.key_text).status for _ in range(50)}
        os.kill(own_installation.stack.pids["store"], signal.SIGCONT)

    assert (found.confirmed, found.sidecars) == (1, 1)
    assert 200 not in seen


async def revoke(installation: Installation, kid: str) -> Confirmation:
    """Revoke a key and wait until the sidecar has confirmed it."""
    edit = Revoke(RevocationReason.KEY_COMPROMISE)
    async with administration.editor(installation.settings) as editor:
        effect = await editor.change(kid, edit, By("tests"), PATIENCE)
    assert effect.confirmation is not None
    return effect.confirmation
