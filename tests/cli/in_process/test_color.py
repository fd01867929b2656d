"""Colors: on terminals alone, for words that carry meaning, and never from stored texts."""

import os
import pty
import re
import subprocess
import sys

import pytest

from authz.cli import color
from authz.cli.columns import columns
from tests.support.cli.in_process import AUTHZ
from tests.support.real import PATIENCE

SGR = re.compile("\x1b\\[[0-9]*m")
GREEN, YELLOW, RED = "\x1b[32m{}\x1b[0m", "\x1b[33m{}\x1b[0m", "\x1b[31m{}\x1b[0m"


def on_terminal(*arguments: str, term: str = "xterm", **more: str) -> str:
    """Run a command whose stdout and stderr are a terminal of 80 columns. Return what it shows."""
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environ = plain | {"TERM": term, "COLUMNS": "80"} | more
    with subprocess.Popen(
        [*AUTHZ, *arguments], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environ
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # nobody is at the other end any more
                break
            if not part:
                break
            seen += part
        process.wait(PATIENCE)
    os.close(ours)
    return seen.decode().replace("\r\n", "\n")


@pytest.fixture
def three(runner):
    """An active, a disabled and a revoked key of one client."""
    kids = [runner.issue("--name", "n")[0] for _ in range(3)]
    runner.run("keys", "disable", kids[1])
    runner.run("keys", "revoke", kids[2])
    return kids


def test_a_status_has_its_color_and_the_table_its_width(runner, three):
    """Without its colors the table is that of a pipe, which has none. It fits 80 columns."""
    shown = on_terminal("keys", "list", "--columns", "kid,status,name,client")
    for word in (GREEN.format("active"), YELLOW.format("disabled"), RED.format("revoked")):
        assert word in shown
    plain = runner.run("keys", "list", "--columns", "kid,status,name,client").out
    assert SGR.sub("", shown) == plain
    assert "\x1b" not in plain
    assert all(len(line) <= 80 for line in plain.splitlines())
    first = on_terminal("keys", "show", three[0])
    assert f"status             {GREEN.format('active')}\n" in first
    assert SGR.sub("", first) == runner.run("keys", "show", three[0]).out


@pytest.mark.parametrize(
    ("options", "environ", "expected"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"NO_COLOR": ""}, True),
        ((), {"term": "dumb"}, False),
        (("--color", "never"), {}, False),
        (("--color", "auto"), {"NO_COLOR": "1"}, False),
        (("--color", "always"), {"NO_COLOR": "1", "term": "dumb"}, True),
        (("--json", "--color", "always"), {}, False),
    ],
)
def test_when_colors_are_used(runner, three, options, environ, expected):
    """An option wins over the environment. JSON has no colors, ever."""
    assert ("\x1b[" in on_terminal("keys", "list", *options, **environ)) is expected


def test_a_pipe_has_no_colors_unless_they_are_asked_for(runner, three):
    """--color always is for pagers, and stands before or after the command."""
    assert "\x1b" not in runner.run("keys", "list").out
    assert GREEN.format("active") in runner.run("keys", "list", "--color", "always").out
    assert GREEN.format("active") in runner.run("--color", "always", "keys", "list").out
    assert "\x1b" not in runner.run("keys", "list").out
    refused = runner.run("--color", "always", "keys", "lst")
    assert refused.err.startswith(RED.format("authz:"))
    assert "\x1b" not in runner.run("keys", "list", "--json", "--color", "always").out
    assert "'auto', 'always', 'never'" in runner.run("keys", "list", "--color", "on").err


def test_marks_of_the_doctor(runner):
    """Each level has its color, and the columns stay in line."""
    seen = runner.run("doctor", "--color", "always").out
    assert GREEN.format("ok") + "    settings" in seen
    assert YELLOW.format("warn") + "  persistence" in seen
    plain = runner.run("doctor").out
    assert re.sub("[0-9.]", "", SGR.sub("", seen)) == re.sub("[0-9.]", "", plain)  # times differ
    gone = runner.run("doctor", "--color", "always", "--redis", "redis://127.0.0.1:1/0").out
    assert RED.format("fail") + "  store" in gone


def test_differences(runner, three):
    """A new key is green, a changed field yellow, a revoked key red, a conflict's label red."""
    text = runner.run("keys", "export").out
    head, first, _ = text.split("\n- ")
    new = "- ref: new.one\n  client: new"
    changed = f"- {first}".replace("name: n", "name: other")
    (runner.directory / "keys.yaml").write_text(f"{head}\n{changed}\n{new}\n")
    seen = runner.run("diff", "-f", "keys.yaml", "--prune", "--color", "always")
    for mark, form in (("+", GREEN), ("~", YELLOW), ("-", RED)):
        before, after = form.split("{}")
        assert re.search(f"^{re.escape(before + mark)} .*{re.escape(after)}$", seen.out, re.M)
    tried = runner.run("apply", "-f", "keys.yaml", "--dry-run", "--color", "always")
    assert "\x1b[32m+ new.one" in tried.out
    kid = re.search("kid: (.*)", first)[1]
    runner.run("keys", "update", kid, "--name", "third")
    conflict = runner.run("diff", "-f", "keys.yaml", "--color", "always")
    assert conflict.err.startswith(RED.format("conflict:"))


def test_a_dry_run_of_many_keys(runner, three):
    """A change that ends a key is red, any other is yellow."""
    options = ("--client", "acme-web", "--dry-run", "--color", "always")
    assert runner.run("keys", "revoke", *options).out.startswith("\x1b[31m")
    assert runner.run("keys", "update", *options, "--scope", "a").out.startswith("\x1b[33m")


@pytest.mark.parametrize(
    "name", ["\x1b[31mred", "\x00abc:31\x00red", f"\x00{'0' * 16}:31\x00x", "\u202ered", "\x9b31m"]
)
def test_a_stored_text_brings_no_color(runner, three, name):
    """A stranger who writes into the store cannot make marks: they are escaped as before."""
    key = f"authz:{{0}}:key:{three[0]}"
    runner.valkey.admin.hset(key, "name", name)
    for command in (("keys", "list"), ("keys", "show", three[0]), ("keys", "history", three[0])):
        plain = runner.run(*command)
        colored = runner.run(*command, "--color", "always")
        assert SGR.sub("", colored.out + colored.err) == plain.out + plain.err
        assert "\x1b" not in plain.out + plain.err
        assert name not in colored.out
    assert GREEN.format("active") not in runner.run("keys", "list").out


def test_marks_do_not_count_as_width():
    """A painted column is as wide as its words; the last one has no blanks at its end."""
    lines = [("A", "STATUS"), ("1", "active"), ("2", "disabled, since long")]
    painted = columns(lines, {1: color.status})
    color.choose("never")
    assert color.rendered(painted, sys.stdout) == columns(lines)
    color.choose("always")
    shown = color.rendered(painted, sys.stdout)
    color.choose("auto")
    assert SGR.sub("", shown) == columns(lines)
    assert shown.splitlines()[2] == f"2  {YELLOW.format('disabled, since long')}"
    assert "STATUS\n" in shown


def test_what_no_module_prints_is_escaped():
    """Marks of another process are control characters."""
    assert color.rendered("\x00abcdef0123456789:31\x00a", sys.stdout).startswith("\\x00abc")


def test_an_error_before_the_option(runner, monkeypatch):
    """--color counts for the whole command line, also for an error that stands before it."""
    monkeypatch.setattr("authz.cli.color._is_wanted", lambda _: color._when == "always")
    for options, is_colored in (
        (("--color", "always"), True),
        (("--color=always",), True),
        (("--color", "never"), False),
        (("--color", "always", "--color", "never"), False),
        (("--color", "nonsense"), False),
    ):
        done = runner.run("keys", "lst", *options)
        assert (done.code, "\x1b[31m" in done.err) == (2, is_colored)
