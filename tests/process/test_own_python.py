"""Processes that run another module of authz."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from authz.process.own_python import command_of


def test_a_module_of_ours_imports_nothing_from_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that was started in a directory of somebody else runs no file that lies there."""
    (tmp_path / "click.py").write_text("raise SystemExit(7)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each and "site" in each])
    assert subprocess.run([*command_of("authz.cli.main"), "--version"], check=False).returncode == 0


def test_a_process_that_imports_from_the_current_directory_hands_that_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A checkout that is not installed is run by `python -m`, and its processes need it, too."""
    monkeypatch.setattr(sys, "path", [os.getcwd()])
    assert command_of("authz.cli.main") == [sys.executable, "-m", "authz.cli.main"]
