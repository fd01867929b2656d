"""Completion of kids and clients from the store, in a real bash."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from authz.cli import stored_words
from authz.cli.invocation import Invocation
from authz.core.errors import Unavailable

BASH = shutil.which("bash") or "bash"
# Completes the last word as bash does after TAB, and prints what bash would insert or offer.
SCRIPT = """
{completion}
COMP_WORDS=({words}) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_authz_completion authz
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
HOSTILE = [
    "a|touch hacked", "a|touch", "a;touch hacked", "a$(touch hacked)", "a`touch hacked`",
    "a b", "a\nplain,b", "a*", "a?", "a[a-z]", "a'", 'a"', "a\\b", "a&b", "a>b", "a~b", "a!b",
    "a{b,c}", "a\x1b[31m", "a" * 200, "a#b", "a=b", "a(b)", "aé",
]  # fmt: skip


@pytest.fixture(scope="module")
def completion():
    """The shell code that `authz completion bash` prints."""
    command = [sys.executable, "-m", "authz.cli.main", "completion", "bash"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def shell(runner, tmp_path, completion):
    """Return a function that completes the last of some words in bash."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "authz"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m authz.cli.main "$@"\n')
    program.chmod(0o755)

    def complete(words: str, **environ: str) -> list[str]:
        known = {"AUTHZ_COMPLETE_STORE": "1", "PATH": f"{program.parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            [BASH, "--norc", "-c", SCRIPT.format(words=words, completion=completion)],
            capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60,
            env=os.environ | known | environ,
        )  # fmt: skip
        assert done.stderr == ""
        return [line for line in done.stdout.splitlines() if line]

    return complete


@pytest.mark.parametrize("command", ["keys show", "keys revoke", "keys rotate", "usage --key"])
def test_a_kid_is_completed(runner, shell, command):
    """The beginning of a kid gives the kid; a revoked key is offered, too."""
    kid, _ = runner.issue()
    other, _ = runner.issue()
    runner.run("keys", "revoke", kid)
    assert shell(f"authz {command} {kid[:12]}") == [kid]
    if not kid.startswith(other[:1]):
        assert other not in shell(f"authz {command} {kid[:1]}")


def test_a_client_is_completed(runner, shell):
    """Each client is offered once, for every command that takes one."""
    for client in ("acme-web", "acme-web", "acme-batch", "other"):
        runner.issue(client=client)
    for command in ("keys list --client", "keys issue --env live --client", "usage --client"):
        assert shell(f"authz {command} acme") == ["acme-batch", "acme-web"]
    assert shell("authz keys list --client ''") == ["acme-batch", "acme-web", "other"]


def test_nothing_is_asked_unless_it_is_wanted(runner, shell):
    """Without the variable, or with another value, the store is not asked."""
    kid, _ = runner.issue()
    for value in ("", "0", "yes"):
        assert shell(f"authz keys show {kid[:4]}", AUTHZ_COMPLETE_STORE=value) == []
    assert shell("authz keys rev") == ["revoke"]
    assert runner.run("config", "check").code == 0


def test_options_before_the_word_count(runner, shell):
    """--config and --redis before the word choose the store."""
    kid, _ = runner.issue()
    url, nowhere = runner.valkey.url, "redis://127.0.0.1:1/0"
    for words in ("--redis {} keys show", "keys --redis {} show", "keys show --redis {}"):
        completed = f"authz {words.format(repr(url))} {kid[:4]}"
        assert kid in shell(completed, AUTHZ_REDIS__URL=nowhere)
    (runner.directory / "a.yaml").write_text(f"redis: {{url: '{url}'}}")
    runner._patch.delenv("AUTHZ_REDIS__URL")
    assert kid in shell(f"authz keys show --config a.yaml {kid[:4]}")


def test_fifty_words_at_most(runner, shell):
    """A long list is cut; a longer beginning finds the rest."""
    entries = "\n".join(f'{{"key": "k-{n:040}", "client": "c{n:03}"}}' for n in range(120))
    assert runner.run("keys", "import", stdin=entries).code == 0
    found = shell("authz keys list --client c")
    assert found == [f"c{n:03}" for n in range(stored_words.MOST)]
    assert shell("authz keys list --client c11") == [f"c11{n}" for n in range(10)]


def test_a_stored_text_runs_nothing(runner, shell):
    """A client that a shell could misread is not offered, whoever wrote it into the store."""
    kid, _ = runner.issue(client="a-good-one")
    for hostile in HOSTILE:
        other, _ = runner.issue(client="a-bad-one")
        runner.valkey.admin.hset(f"authz:{{0}}:key:{other}", "client_id", hostile)
    assert shell("authz keys list --client a") == ["a-good-one"]
    runner.valkey.admin.zadd("authz:{0}:keys", dict.fromkeys(HOSTILE, 9e12))
    assert not set(HOSTILE) & set(shell("authz keys show a"))
    assert shell(f"authz keys show {kid[:12]}") == [kid]
    assert not list(Path(runner.directory).glob("hacked*"))


@pytest.mark.parametrize("hostile", ["--config=x", "-f", "+x", ":x"])
def test_no_word_is_an_option(runner, hostile):
    """A word that begins with a dash would be read as an option."""
    kid, _ = runner.issue()
    runner.valkey.admin.hset(f"authz:{{0}}:key:{kid}", "client_id", hostile)
    assert stored_words.stored_words("client", Invocation(), "") == []


@pytest.mark.parametrize("fault", ["gone", "silent", "settings", "config", "wrong"])
def test_a_fault_is_silent_and_short(runner, shell, fault):
    """No words and no message. A store that does not answer is waited for 0.5 s."""
    kid, _ = runner.issue()
    words, environ = f"authz keys show {kid[:3]}", {}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if fault == "gone":
            environ["AUTHZ_REDIS__URL"] = "redis://127.0.0.1:1/0"
        elif fault == "silent":
            environ["AUTHZ_REDIS__URL"] = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        elif fault == "settings":
            environ["AUTHZ_LOG__LEVEL"] = "LOUD"
        elif fault == "config":
            environ["AUTHZ_CONFIG"] = "missing.yaml"
        else:
            runner.valkey.admin.set("authz:{0}:keys", "not a sorted set")
        began = time.monotonic()
        assert shell(words, **environ) == []
        assert time.monotonic() - began < 10
        if fault == "silent":
            invocation = Invocation(redis=environ["AUTHZ_REDIS__URL"])
            began = time.monotonic()
            with pytest.raises((Unavailable, TimeoutError)):
                stored_words.stored_words("kid", invocation, "")
            assert time.monotonic() - began < 1.5
