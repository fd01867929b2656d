"""SIGTERM and SIGHUP end a command as Ctrl-C does, unless they are ignored."""

import asyncio
import fcntl
import os
import signal
import subprocess
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from authz.cli.ending_signals import as_interrupts
from authz.cli.main import INTERRUPTED
from authz.core.errors import Unavailable
from tests.support.cli.terminal import AUTHZ, PATIENCE, run
from tests.support.system import until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_scan_that_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """A scan that waits for stdin cleans up, then ends with code 130."""
    monkeypatch.chdir(tmp_path)
    pipe = subprocess.PIPE
    with subprocess.Popen([*AUTHZ, "scan", "-"], stdin=pipe, stderr=pipe) as scan:
        assert scan.stdin
        assert scan.stderr
        given = scan.stdin
        given.write(b"no key")
        given.flush()
        until(lambda: fcntl.ioctl(given, termios.FIONREAD, bytes(4)), lambda left: not any(left))
        scan.send_signal(number)
        assert (scan.wait(60), scan.stderr.read().strip()) == (130, b"")


@pytest.mark.parametrize(
    ("work", "command"),
    [
        ("authz.wiring.backups.back_up", "backup store.backup"),
        ("authz.cli.init._initialise", "init"),
        ("authz.cli.audit_verify._verify_store", "audit verify"),
        ("authz.cli.audit_ship._ship", "audit ship --to file:trail.jsonl"),
    ],
)
def test_ctrl_c_that_looks_like_a_timeout(
    store: Path, monkeypatch: pytest.MonkeyPatch, work: str, command: str
) -> None:
    """redis-py may take a cancellation at the end of a timeout for the timeout."""

    async def timed_out(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE)
        raise Unavailable("no answer")

    before = os.listdir(store)
    monkeypatch.setattr(work, timed_out)
    done = run(*command.split())
    assert (done.code, done.out, done.err.strip()) == (INTERRUPTED, "", "")
    assert os.listdir(store) == before


def test_signals_that_are_ignored() -> None:
    """A command under nohup goes on, and afterwards the handlers are those of before."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    term = signal.getsignal(signal.SIGTERM)
    try:
        with as_interrupts(signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is term
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_cancels_the_task_of_an_event_loop() -> None:
    """The task goes on to its next wait, so that no step before it is cut off."""
    steps = []

    async def work() -> None:
        signal.raise_signal(signal.SIGTERM)
        steps.append("goes on")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise

    with as_interrupts(signal.SIGTERM), pytest.raises(KeyboardInterrupt):
        asyncio.run(work())
    assert steps == ["goes on", "cancelled"]


def test_a_signal_where_ctrl_c_is_ignored() -> None:
    """SIGTERM ends a job in the background, too."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with as_interrupts(signal.SIGTERM), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)
