"""--out writes a new key to a file."""

import os
import re
import stat

import pytest

from tests.support.cli.in_process import refusal

KID = "7Hk2mQ9xT4bVzR1c"


@pytest.mark.parametrize("command", ["issue", "rotate"])
def test_a_key_into_a_file(runner, command):
    """Only the file has the key, and only its owner may read it. Stdout has the kid."""
    target = ("--client", "acme-web") if command == "issue" else (runner.issue()[0],)
    before = os.umask(0)
    try:
        done = runner.run("keys", command, *target, "--out", "new.key")
    finally:
        os.umask(before)
    file = runner.directory / "new.key"
    text = file.read_text()
    kid = done.out.strip()
    assert re.fullmatch(rf"ak_live_{kid}_[0-9A-Za-z]{{61}}\n", text)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert text.strip() not in done.out + done.err
    assert "new.key" in done.err
    assert runner.run("keys", "verify", stdin=text).code == 0


def test_a_key_into_a_file_as_json(runner):
    """The document has no key and names the file."""
    done = runner.run("keys", "issue", "--client", "a", "--out", "new.key", "--json")
    assert (done.document["key"], done.document["file"], done.err) == (None, "new.key", "")


@pytest.mark.parametrize("there", ["file", "link", "dangling link", "directory"])
def test_a_file_is_never_overwritten(runner, there):
    """An existing file or link stays unchanged, and no key is made."""
    path, other = runner.directory / "new.key", runner.directory / "other"
    if there == "file":
        path.write_text("mine")
    elif there == "directory":
        path.mkdir()
    else:
        path.symlink_to(other)
    if there == "link":
        other.write_text("mine")
    line = refusal(runner.run("keys", "issue", "--client", "a", "--out", "new.key"))
    assert "--out: new.key: exists, and is never overwritten" in line
    assert runner.run("keys", "list", "--json").document["keys"] == []
    assert there != "dangling link" or not other.exists()


@pytest.mark.parametrize("path", ["", "no/such/directory/key", "a\nb", "x" * 5000, "/dev/full/x"])
def test_a_file_that_cannot_be_made(runner, path):
    """The error names the option, and no key is made."""
    line = refusal(runner.run("keys", "issue", "--client", "a", "--out", path))
    assert line.startswith("authz: --out: ")
    assert runner.run("keys", "list", "--json").document["keys"] == []


def test_no_file_is_left_when_no_key_is_made(runner):
    """A refused or failed issue leaves no file."""
    runner.run("keys", "rotate", KID, "--out", "new.key")
    runner.run("keys", "issue", "--client", "a", "--not-before", "2d", "--expires-in", "1d",
             "--out", "new.key")  # fmt: skip
    assert not (runner.directory / "new.key").exists()
