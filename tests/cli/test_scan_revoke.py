"""`authz scan --revoke` that ends halfway: the report is true, and a second run does the rest."""

import asyncio
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from authz.cli.main import INTERRUPTED, UNAVAILABLE
from authz.cli.scan import FOUND
from authz.flows.identification import Identification, Identity
from authz.flows.lifecycle import Lifecycle
from tests.cli.test_store_faults import proxy
from tests.support.cli.terminal import AUTHZ, PATIENCE, execute, run
from tests.support.real import Valkey

KEYS, BEFORE = 6, 3


@pytest.fixture
def kids(store: Path) -> list[str]:
    """The kids of keys in a file that is to be searched, in order."""
    made = [run("keys", "issue", "--client", "a", "--json").document for _ in range(KEYS)]
    (store / "found").write_text("\n".join(one["key"] for one in made))
    return [one["kid"] for one in made]


def revoked(kids: list[str]) -> list[str]:
    """Return the kids of the revoked keys."""
    shown = ((kid, run("keys", "show", kid, "--json").document) for kid in kids)
    return [kid for kid, document in shown if document["status"] == "revoked"]


def from_the_fourth(kids: list[str]) -> Callable[[bytes], bool]:
    """Return whether bytes to the store revoke a key behind the first three."""
    names = [kid.encode() for kid in kids[BEFORE:]]
    return lambda data: b"key_compromise" in data and any(name in data for name in names)


def finish(kids: list[str]) -> None:
    """Run the command again. It revokes the rest, and is content with the others."""
    again = run("scan", "--revoke", "found")
    assert (again.code, again.err) == (FOUND, "")
    *lines, _ = again.out.splitlines()
    assert all("no longer works" in line for line in lines[:BEFORE])
    assert all("no longer works" in line or "revoked now" in line for line in lines[BEFORE:])
    assert revoked(kids) == kids


def test_a_store_that_goes_away(kids: list[str], valkey: Valkey) -> None:
    """The report says which keys are revoked now. Stderr names the key that is not confirmed."""
    with proxy(valkey.port, from_the_fourth(kids)) as port:
        lost = ("--redis", f"redis://127.0.0.1:{port}/0")
        done = run("scan", "--revoke", "found", "--json", *lost)
    assert (done.code, done.document["asked_store"]) == (UNAVAILABLE, True)
    named = [row["kid"] for row in done.document["found"] if row["revoked_now"]]
    assert named == kids[:BEFORE]
    stopped, error = done.err.splitlines()
    assert stopped == f"stopped at {kids[BEFORE]}: 3 of 6 keys are revoked; run it again"
    assert error.startswith("authz: the store did not confirm the change: ")
    assert set(named) <= set(revoked(kids))
    finish(kids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_command_that_is_ended(kids: list[str], valkey: Valkey, number: signal.Signals) -> None:
    """A second run finishes the work. Only SIGKILL leaves no word of the keys that are revoked."""
    arrived, is_over = threading.Event(), threading.Event()
    is_late = from_the_fourth(kids)

    def hold(data: bytes) -> bool:
        if is_late(data):
            arrived.set()
            is_over.wait(PATIENCE)
        return is_over.is_set()

    pipe = subprocess.PIPE
    with proxy(valkey.port, hold) as port:
        words = [*AUTHZ, "scan", "--revoke", "found", "--redis", f"redis://127.0.0.1:{port}/0"]
        with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True) as scan:
            assert arrived.wait(PATIENCE)
            scan.send_signal(number)
            out, err = scan.communicate(timeout=PATIENCE)
        assert (out, revoked(kids)) == ("", kids[:BEFORE])
        finish(kids)
        is_over.set()
    if number is signal.SIGKILL:
        assert (scan.returncode, err) == (-number, "")
    else:
        said = f"stopped at {kids[BEFORE]}: 3 of 6 keys are revoked; run it again"
        assert (scan.returncode, err.strip()) == (INTERRUPTED, said)


def test_a_cancellation_that_the_client_forgets_counts(
    kids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py may take a reply that comes with Ctrl-C, and forget the cancellation."""
    revoke, begun = Lifecycle.revoke, list[str]()

    async def forgetting(self: Lifecycle, kid: str, *arguments: Any) -> Any:
        begun.append(kid)
        if len(begun) == BEFORE:
            signal.raise_signal(signal.SIGINT)
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(PATIENCE)
        return await revoke(self, kid, *arguments)

    monkeypatch.setattr(Lifecycle, "revoke", forgetting)
    done = run("scan", "--revoke", "found")
    said = f"stopped at {kids[BEFORE - 1]}: 3 of 6 keys are revoked; run it again"
    assert (done.code, done.out, done.err.strip()) == (INTERRUPTED, "", said)
    assert revoked(kids) == begun == kids[:BEFORE]


def test_a_key_that_somebody_else_revokes_meanwhile(
    kids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report does not say that it works."""
    identify = Identification.identify

    async def slow(self: Identification, texts: Sequence[str]) -> list[Identity]:
        found = await identify(self, texts)
        await asyncio.to_thread(execute, "keys", "revoke", kids[0])
        return found

    monkeypatch.setattr(Identification, "identify", slow)
    done = run("scan", "--revoke", "found")
    assert (done.code, done.out.count("revoked now")) == (FOUND, KEYS)
    assert revoked(kids) == kids
