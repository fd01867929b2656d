"""Fixtures of command tests: an empty directory, and only the address of the store as a setting."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli.terminal import NO_STORE, Outcome, environment, run
from tests.support.real import Valkey


def _enter(directory: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(directory)
    for name in set(os.environ) - set(environment(store, directory)):
        monkeypatch.delenv(name)
    for name, value in environment(store, directory).items():
        monkeypatch.setenv(name, value)
    return directory


@pytest.fixture
def no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of commands. Nothing listens at the address of the store."""
    return _enter(tmp_path, NO_STORE, monkeypatch)


@pytest.fixture
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey: Valkey) -> Path:
    """The working directory of commands, with a real store that was never initialised."""
    return _enter(tmp_path, valkey.url, monkeypatch)


@pytest.fixture
def store(empty_store: Path) -> Path:
    """The working directory of commands, with an initialised store and a pepper."""
    assert run("init").code == 0
    return empty_store


@pytest.fixture
def importing(store: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Return a function that imports lines or bytes in this process."""

    def act(given: list[str] | bytes, *options: str) -> Outcome:
        raw = given if isinstance(given, bytes) else "".join(f"{one}\n" for one in given).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        return run("keys", "import", *options)

    return act
