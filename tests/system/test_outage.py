"""A store outage through a real Envoy, as a client sees it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from authz.cli.demo import Answer
from authz.core.records import RevocationReason
from tests.support.system import (
    FOREIGN,
    PATIENCE,
    PATIENT,
    Installation,
    ask,
    readiness,
    run_import,
    running,
    until,
)

Install = Callable[..., Installation]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that starts an installation with these settings."""
    with ExitStack() as opened:

        def make(**settings: str) -> Installation:
            for name, value in settings.items():
                monkeypatch.setenv(f"AUTHZ_{name}", value)
            stack, _ = opened.enter_context(running())
            return Installation(stack)

        yield make


def lose_the_store(installation: Installation) -> None:
    """Kill the store and wait until the sidecar has lost trust."""
    os.kill(installation.stack.pids["store"], signal.SIGKILL)
    until(lambda: is_trusted(installation), lambda trusted: not trusted)


def is_trusted(installation: Installation) -> bool:
    """Return whether the sidecar trusts its link."""
    return readiness(installation)["components"]["store"]["trusted"]


def is_stale(answer: Answer) -> bool:
    """Return whether the backend got x-auth-stale."""
    return answer.arrived.get("x-auth-stale") == "true"


def test_a_known_key_goes_on_and_then_is_unavailable(install: Install) -> None:
    """A cached key is allowed with x-auth-stale for the grace, then 503. A client cannot set the
    header.
    """
    installation = install(OUTAGE__GRACE="8s")
    key = installation.stack.key
    with closing(installation.client()) as client:
        spoofed = client.get(x_api_key=key, x_auth_stale="true")

        lose_the_store(installation)
        going_on = client.get(x_api_key=key, x_auth_stale="spoofed")
        ready = readiness(installation)["status"]
        over = until(lambda: ask(client, key), lambda seen: seen.status != 200)
        not_ready = readiness(installation)["status"]

    assert (spoofed.status, is_stale(spoofed)) == (200, False)
    assert (going_on.status, is_stale(going_on), ready) == (200, True, "ready")
    assert (str(over), not_ready) == ("503 unavailable", "not_ready")


def test_keys_have_their_own_grace_and_unknown_ones_none(install: Install) -> None:
    """A key with grace 0 and an uncached key get 503 at once. Other keys keep working."""
    installation = install(OUTAGE__GRACE="60s")
    usual = installation.stack.key
    critical = installation.issue(outage_grace=0).key_text
    unknown = installation.issue().key_text
    with closing(installation.client()) as client:
        assert {ask(client, key).status for key in (usual, critical)} == {200}

        lose_the_store(installation)
        seen = [str(ask(client, key)) for key in (usual, critical, unknown)]

    assert seen == ["200", "503 unavailable", "503 unavailable"]


def test_a_hung_store_ends_trust_within_the_lease(install: Install) -> None:
    """With a hung store a key with grace 0 gets 503, others keep working."""
    installation = install(OUTAGE__GRACE="60s")
    critical = installation.issue(outage_grace=0).key_text
    with closing(installation.client()) as client:
        assert ask(client, critical).status == 200
        assert not is_stale(ask(client, installation.stack.key))

        os.kill(installation.stack.pids["store"], signal.SIGSTOP)
        ended = until(lambda: ask(client, critical), lambda seen: seen.status != 200)
        usual = ask(client, installation.stack.key)
        os.kill(installation.stack.pids["store"], signal.SIGCONT)
        healed = until(lambda: ask(client, critical), lambda seen: seen.status == 200)
        fresh = until(lambda: ask(client, installation.stack.key), lambda seen: not is_stale(seen))

    assert str(ended) == "503 unavailable"
    assert (usual.status, is_stale(usual)) == (200, True)
    assert healed.status == 200
    assert (fresh.status, is_stale(fresh)) == (200, False)


def test_a_revoked_key_stays_denied_through_the_outage(install: Install) -> None:
    """A revoked key gets 401 before, during and after the grace of others."""
    installation = install(OUTAGE__GRACE="8s")
    issued = installation.issue()
    usual = installation.stack.key
    with closing(installation.client()) as client:
        assert {ask(client, key).status for key in (issued.key_text, usual)} == {200}
        installation.administer(
            lambda life: life.revoke(
                issued.record.kid, RevocationReason.KEY_COMPROMISE, life.author("tests")
            )
        )
        until(lambda: ask(client, issued.key_text), lambda seen: seen.status == 401)

        lose_the_store(installation)
        during = [str(ask(client, key)) for key in (issued.key_text, usual)]
        until(lambda: ask(client, usual), lambda seen: seen.status != 200)
        after = str(ask(client, issued.key_text))

    assert during == ["401 api_key_revoked", "200"]
    assert after == "401 api_key_revoked"


@contextmanager
def another_sidecar(installation: Installation) -> Iterator[None]:
    """Run a sidecar in place of one that has ended."""
    command = [sys.executable, "-m", "authz.cli.main"]
    command += ["--config", installation.stack.config, "serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | PATIENT) as sidecar:
        try:
            yield
        finally:
            sidecar.terminate()
            sidecar.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_sidecar_restarted_in_an_outage_serves_the_keys_it_knew(
    install: Install, tmp_path: Path, number: signal.Signals
) -> None:
    """A restart in an outage keeps cached and imported keys. Other keys get 503."""
    installation = install(OUTAGE__GRACE="5m", CACHE__SNAPSHOT=str(tmp_path / "snapshot"))
    key = installation.stack.key
    critical = installation.issue(outage_grace=0).key_text
    unknown = installation.issue().key_text
    run_import(installation, {"key": FOREIGN, "client": "acme"})
    with closing(installation.client()) as client:
        assert {ask(client, text).status for text in (key, critical)} == {200}
        until(lambda: ask(client, FOREIGN), lambda seen: seen.status == 200)
        (tmp_path / "snapshot").unlink(missing_ok=True)  # one of a moment without trust before
        lose_the_store(installation)
        until((tmp_path / "snapshot").exists, bool)
        ended = installation.stack.pids["sidecar"]
        os.kill(ended, number)
        until(lambda: has_ended(ended), bool)

        with another_sidecar(installation):
            answer = until(lambda: ask(client, key), lambda seen: seen.status == 200)
            imported = ask(client, FOREIGN)
            others = [str(ask(client, text)) for text in (critical, unknown)]

    assert (answer.status, is_stale(answer)) == (200, True)
    assert (imported.status, is_stale(imported)) == (200, True)
    assert others == ["503 unavailable", "503 unavailable"]


def has_ended(pid: int) -> bool:
    """Return whether the process is a zombie."""
    return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()


def test_without_a_snapshot_a_restarted_sidecar_knows_nothing(install: Install) -> None:
    """Without a snapshot a restarted sidecar answers 503, never 401."""
    installation = install(OUTAGE__GRACE="5m")
    with closing(installation.client()) as client:
        assert ask(client, installation.stack.key).status == 200
        lose_the_store(installation)
        ended = installation.stack.pids["sidecar"]
        os.kill(ended, signal.SIGKILL)
        until(lambda: has_ended(ended), bool)

        with another_sidecar(installation):
            answer = until(
                lambda: ask(client, installation.stack.key), lambda seen: "unavailable" in str(seen)
            )

    assert str(answer) == "503 unavailable"


def test_a_waiting_revocation_is_confirmed_through_the_stack(install: Install) -> None:
    """After `authz keys revoke --wait` the next request is denied."""
    installation = install()
    issued = installation.issue()
    command = [sys.executable, "-m", "authz.cli.main", "--config", installation.stack.config]
    with closing(installation.client()) as client:
        assert ask(client, issued.key_text).status == 200
        done = subprocess.run(
            [*command, "keys", "revoke", issued.record.kid, "--wait"],
            capture_output=True,
            text=True,
            check=False,
        )
        answer = ask(client, issued.key_text)

    assert done.returncode == 0, done.stderr
    assert "is now revoked; 1 of 1 sidecars confirmed in " in done.stdout
    assert str(answer) == "401 api_key_revoked"
