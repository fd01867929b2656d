"""The hook of `docs/leaks.md` for git, which lets no key into a commit."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from authz.cli.scan import FOUND
from tests.support.fakes import make_keyring

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "leaks.md"
PRE_COMMIT = ROOT / "deploy" / "scanners" / "pre-commit-config.yaml"


class Repository:
    """A repository with the hook."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._environ = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        folder.mkdir()
        self.git("init", "-q")
        (script,) = re.findall(r"```sh\n(cat > .git/hooks/.*?)\n```", GUIDE.read_text(), re.DOTALL)
        (folder / ".git" / "hooks").mkdir(exist_ok=True)
        subprocess.run(["sh", "-c", script], cwd=folder, check=True)

    def git(self, *words: str) -> int:
        """Run git, and return its exit code."""
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        command = ("git", *who, *words)
        return subprocess.run(
            command, cwd=self.folder, env=self._environ, capture_output=True, check=False
        ).returncode

    def commits(self, *more: str) -> bool:
        """Commit everything that the folder has, and return whether the hook let it."""
        self.git("add", "-A")
        return self.git("commit", "-qm", "m", *more) == 0


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository, and the command `authz`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "authz"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m authz.cli.main "$@"\n')
    command.chmod(0o755)
    return Repository(tmp_path / "repository", programs)


@pytest.fixture
def key() -> bytes:
    """A key."""
    return make_keyring().mint("live").text.encode()


@pytest.mark.parametrize("around", [b"\n", b"\0", b"\xff\xfe\0\n"])
def test_no_key_gets_into_a_commit(repository: Repository, key: bytes, around: bytes):
    """A key stops a commit, also in a binary file and beside other changes."""
    (repository.folder / "a").write_bytes(b"a\n")
    assert repository.commits()
    (repository.folder / "b").write_bytes(around + key + around)
    assert not repository.commits()


def test_settings_of_the_user_hide_no_key(repository: Repository, key: bytes):
    """Colours and programs that show differences change nothing."""
    repository.git("config", "color.ui", "always")
    repository.git("config", "diff.external", "true")
    (repository.folder / "b").write_bytes(key)
    assert not repository.commits()


def test_a_key_may_be_removed(repository: Repository, key: bytes):
    """A commit that takes a key away, or stands beside one, is made."""
    file = repository.folder / "a"
    file.write_bytes(b"1\n" + key + b"\n2\n")
    assert repository.commits("--no-verify")
    file.write_bytes(b"1\n" + key + b"\n3\n")
    assert repository.commits()
    file.write_bytes(b"1\n3\n")
    assert repository.commits()


def hook(*names: str, options: Sequence[str] = ()) -> list[str]:
    """Return the command of pre-commit: the entry, its arguments, and the names of files.

    options: those that a user writes in front of the `--` of the arguments.
    """
    (one,) = yaml.safe_load(PRE_COMMIT.read_text())["repos"][0]["hooks"]
    program, *words = one["entry"].split(" ")
    assert program == "authz"
    assert one["args"] == ["--"]
    return [sys.executable, "-m", "authz.cli.main", *words, *options, *one["args"], *names]


@pytest.mark.parametrize("name", ["--help", "--rules=gitleaks", "-h"])
def test_a_name_of_a_file_is_no_option(
    repository: Repository, key: bytes, name: str, monkeypatch: pytest.MonkeyPatch
):
    """pre-commit gives the names of files as they are. None of them ends the search."""
    monkeypatch.chdir(repository.folder)
    Path(name).write_bytes(b"")
    Path("a").write_bytes(key)
    done = subprocess.run(hook(name, "a"), capture_output=True, check=False)
    assert done.returncode == FOUND


def test_options_of_the_user(repository: Repository, key: bytes, monkeypatch: pytest.MonkeyPatch):
    """A repository may give the hook options, such as other settings."""
    monkeypatch.chdir(repository.folder)
    Path("authz.yaml").write_text("keys:\n  prefix: other\n")
    Path("--json").write_bytes(key)
    command = hook("--json", options=["--config", "authz.yaml"])
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout[:6]) == (0, b"no key")
    done = subprocess.run(hook("--json"), capture_output=True, check=False)
    assert done.returncode == FOUND


@pytest.mark.parametrize("more", [[], ["b"]])
def test_a_file_that_is_called_like_stdin(
    repository: Repository, key: bytes, more: list[str], monkeypatch: pytest.MonkeyPatch
):
    """pre-commit names the file `-` as it is, and gives an empty stdin."""
    monkeypatch.chdir(repository.folder)
    Path("-").write_bytes(key)
    Path("b").write_bytes(b"")
    done = subprocess.run(
        hook("-", *more), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout[:4]) == (FOUND, b"-:1:")
