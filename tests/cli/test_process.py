"""Commands as processes: closed, full or interrupted streams, signals, and start-up."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from authz.cli.main import main
from tests.support.cli.terminal import AUTHZ, PATIENCE, execute, run
from tests.support.storage import stored

ISSUE = ("keys", "issue", "--client", "a")
CLOSED_PIPE = 141


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a command."""
    return subprocess.Popen([*AUTHZ, *arguments], stderr=subprocess.PIPE, **options)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Return the exit code and stderr of a command."""
    _, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err.decode()


@pytest.mark.parametrize("arguments", [("init", "--json"), ("--help",), ("--version",), ()])
def test_nobody_reads_the_answer(store: Path, arguments: tuple[str, ...]) -> None:
    """A closed stdout gives a quiet exit with a code that is not 0."""
    reader, writer = os.pipe()
    os.close(reader)
    code, err = ended(start(*arguments, stdout=writer))
    os.close(writer)
    assert (code, err) == (CLOSED_PIPE, "")


def test_a_key_that_nobody_reads_is_known_by_its_kid(store: Path) -> None:
    """With a closed stdout, stderr has the kid but not the key."""
    reader, writer = os.pipe()
    os.close(reader)
    code, err = ended(start(*ISSUE, stdout=writer))
    os.close(writer)
    assert code == CLOSED_PIPE
    kid = err.split()[1].rstrip(",")
    assert run("keys", "revoke", kid).code == 0
    assert "_live_" not in err


def test_an_answer_that_cannot_be_written(store: Path) -> None:
    """With a full disk one line says that the change was made."""
    with Path("/dev/full").open("wb") as full:
        code, err = ended(start("init", stdout=full))
    assert code == 3
    assert err == (
        "authz: stdout: No space left on device; "
        "the command was carried out, only its answer is lost\n"
    )


@pytest.mark.parametrize("arguments", [("--help",), ("keys", "issue", "-h"), ("--version",), ()])
def test_help_that_cannot_be_written(no_store: Path, arguments: tuple[str, ...]) -> None:
    """A full disk while help is printed is not reported as a bug."""
    with Path("/dev/full").open("wb") as full:
        code, err = ended(start(*arguments, stdout=full))
    assert (code, err) == (3, "authz: stdout: No space left on device\n")


def test_without_stdout_nothing_is_done(store: Path) -> None:
    """Without stdout no key is made."""
    script = f"exec {sys.executable} -m authz.cli.main keys issue --client a >&-"
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr == b"authz: stdout: is closed; the answer would be lost\n"
    assert run("keys", "issue", "--client", "b", "--json").document["record"]["version"] == 1


def test_without_stderr_the_exit_code_is_left(store: Path) -> None:
    """Without stderr an error does not appear on stdout."""
    script = f"exec {sys.executable} -m authz.cli.main keys show x 2>&-"
    done = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


def test_without_stderr_all_keys_of_a_client_are_revoked(store: Path) -> None:
    """--client works without stderr, and without a progress bar."""
    kid = run(*ISSUE, "--json").document["kid"]
    script = f"exec {sys.executable} -m authz.cli.main keys revoke --client a --yes 2>&-"
    done = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout.split()[:3]) == (0, [b"client", b"a:", b"1"])
    assert run("keys", "show", kid, "--json").document["status"] == "revoked"


def test_nothing_takes_the_place_of_a_closed_stream(no_store: Path) -> None:
    """A library's output on stderr does not reach a key file or a connection."""
    code = "import os; from authz.cli.main import main; main(['-h']); print(os.dup(1))"
    script = f'exec {sys.executable} -c "{code}" 2>&- <&-'
    done = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True)
    assert int(done.stdout.split()[-1]) > 2


@pytest.mark.parametrize("words", ["scan -", "usage anomalies --replay -"])
def test_a_closed_stdin(no_store: Path, words: str) -> None:
    """A command that should read stdin says that it is closed."""
    script = f"exec {' '.join(AUTHZ)} {words} <&-"
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"is closed" in done.stderr


def test_nobody_reads_stderr(store: Path) -> None:
    """A key is shown even if stderr is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*AUTHZ, *ISSUE], stdout=subprocess.PIPE, stderr=writer, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith(b"ak_live_")
    done = subprocess.run([*AUTHZ, "nonsense"], stdout=subprocess.PIPE, stderr=writer, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    os.close(writer)


def test_a_terminal_that_knows_no_unicode(store: Path) -> None:
    """A name that the terminal cannot show is escaped."""
    kid = run(*ISSUE, "--name", "Blue \N{KEY}", "--json").document["kid"]
    environ = os.environ | {"PYTHONIOENCODING": "latin-1"}
    shown = execute("keys", "show", kid, env=environ)
    assert shown.code == 0
    assert "Blue \\U0001f511" in shown.out
    assert execute("keys", "show", kid, "--json", env=environ).document["name"] == "Blue \N{KEY}"


def test_ctrl_c_while_the_store_hangs(no_store: Path) -> None:
    """Ctrl-C gives exit code 130 and no traceback."""
    (no_store / "authz-pepper-1").write_text("0" * 64)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        process = start(*ISSUE, "--redis", url)
        connection, _ = silent.accept()
        with contextlib.closing(connection):
            process.send_signal(signal.SIGINT)
            code, err = ended(process)
    assert code == 130
    assert err.strip() == ""


INTERRUPTED_IMPORT = """
import os, signal
from importlib import import_module
from authz.cli import loading, main

def interrupted(name):
    if name == "authz.cli.listing":
        os.kill(os.getpid(), signal.SIGINT)
    return import_module(name)

loading.import_module = interrupted
main.main(["keys", "list"])
"""


def test_ctrl_c_while_a_command_is_loaded(no_store: Path) -> None:
    """Ctrl-C during an import ends the process without output."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_ctrl_c_is_what_it_was_once_a_command_is_loaded(no_store: Path) -> None:
    """After the import the earlier handler of SIGINT is in place again, also an ignored one."""
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (signal.default_int_handler, signal.SIG_IGN):
            signal.signal(signal.SIGINT, handler)
            run("keys", "--help")
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_bug_is_one_line_unless_asked_for_more(
    no_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug gives one line. --debug adds the traceback before it."""

    def broken(*_: object) -> None:
        raise RuntimeError("ak_live_7Hk2mQ9xT4bVzR1c_1secret")

    monkeypatch.setattr("authz.cli.administration.load", broken)
    outcome = run("keys", "show", "7Hk2mQ9xT4bVzR1c")
    assert outcome.code == 70
    assert outcome.error == "authz: RuntimeError: this is a bug; --debug shows where it is"
    outcome = run("--debug", "keys", "show", "7Hk2mQ9xT4bVzR1c")
    assert outcome.code == 70
    assert "Traceback" in outcome.err
    assert "in broken" in outcome.err


def test_a_key_is_only_ever_on_stdout(store: Path) -> None:
    """Issue and rotation show a key once, on stdout."""
    issued = run(*ISSUE)
    assert issued.out.startswith("ak_live_")
    assert issued.out.count("\n") == 1
    kid = issued.out.split("_")[2]
    rotated = run("keys", "rotate", kid)
    for outcome in (issued, rotated):
        assert "_live_" not in outcome.err
        assert outcome.out.rpartition("_")[2].strip()[:8] not in outcome.err
    for outcome in (run("keys", "show", kid), run("keys", "revoke", kid, "--json")):
        assert "_live_" not in outcome.out + outcome.err


def test_the_audit_trail_says_who_and_why(store: Path, valkey: Any) -> None:
    """The audit trail has $AUTHZ_ACTOR and --note."""
    kid = run(*ISSUE, "--json", "--note", "ticket 7").document["kid"]
    run("keys", "revoke", kid, "--note", "left the company")
    events = [event for _, event in stored.audit_rows(valkey.admin)]
    assert [(event["actor"], event["note"]) for event in events] == [
        ("tests", "ticket 7"),
        ("tests", "left the company"),
    ]


def test_serve_takes_its_addresses_from_flags(
    no_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--listen and --ops win over all other sources."""
    served = []
    monkeypatch.setattr(
        "authz.wiring.serving.serve", lambda read, _file, process: served.append(read())
    )
    monkeypatch.setenv("AUTHZ_CHECK__LISTEN", "127.0.0.1:7")
    monkeypatch.setenv("AUTHZ_OPS__LISTEN", "127.0.0.1:8")
    assert run("serve").code == 0
    assert run("serve", "--listen", "unix:check.sock", "--ops", "127.0.0.1:9").code == 0
    assert [str(settings.check.listen) for settings in served] == [
        "127.0.0.1:7",
        f"unix:{no_store}/check.sock",
    ]
    assert [str(settings.ops.listen) for settings in served] == ["127.0.0.1:8", "127.0.0.1:9"]


def test_serve_on_a_port_that_is_taken(no_store: Path) -> None:
    """A taken port gives one line with the address, and exit code 2."""
    (no_store / "authz-pepper-1").write_text("0" * 64)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        outcome = execute("serve", "--listen", address, "--ops", "127.0.0.1:0")
    assert outcome.code == 2
    last = outcome.err.splitlines()[-1]
    assert last.startswith("authz: ")
    assert address in last
    assert "Traceback" not in outcome.err


def test_the_console_script_is_this_command_line() -> None:
    """`authz` on the PATH is the tested program."""
    script = Path(sys.executable).with_name("authz")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == run("--version").out
    assert main(["--version"]) == 0


def test_json_is_one_document_and_nothing_else(store: Path) -> None:
    """--json prints one complete document, and nothing on stderr."""
    done = execute(*ISSUE, "--json")
    assert done.err == ""
    assert set(json.loads(done.out)) == {"kid", "key", "record"}
    assert done.out.count("\n") == 1
