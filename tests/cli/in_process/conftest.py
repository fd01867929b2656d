"""Fixtures of the commands that run in this process."""

from pathlib import Path

import pytest

from tests.support.cli.in_process import CommandRunner
from tests.support.real import Valkey


@pytest.fixture
def runner(tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> CommandRunner:
    """A directory with a pepper, and an initialised store."""
    return CommandRunner(tmp_path, valkey, monkeypatch)
