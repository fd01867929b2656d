"""A missing, foreign or silent store gives exit code 3 and one line."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cli.terminal import run
from tests.support.real import Valkey
from tests.support.storage import stored

KID = "7Hk2mQ9xT4bVzR1c"
COMMANDS = [
    ("init",),
    ("keys", "issue", "--client", "a"),
    ("keys", "show", KID),
    ("keys", "rotate", KID),
    ("keys", "revoke", KID),
    ("keys", "disable", KID),
    ("keys", "enable", KID),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_store_that_is_not_there(no_store: Path, command: tuple[str, ...]) -> None:
    """Every command reports a missing store and makes nothing."""
    (no_store / "authz-pepper-1").write_text("0" * 64)
    outcome = run(*command)
    assert outcome.code == 3
    assert "127.0.0.1:1" in outcome.error


@pytest.mark.parametrize("command", COMMANDS[1:], ids=" ".join)
def test_a_store_that_was_never_initialised(empty_store: Path, command: tuple[str, ...]) -> None:
    """An empty store is reported with its remedy."""
    (empty_store / "authz-pepper-1").write_text("0" * 64)
    outcome = run(*command)
    assert outcome.code == 3
    assert "run `authz init`" in outcome.error


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_store_of_other_peppers(store: Path, command: tuple[str, ...]) -> None:
    """A store of other peppers is refused."""
    (store / "authz-pepper-1").write_text("0" * 64)
    outcome = run(*command)
    assert outcome.code == 3
    assert "point keys.peppers at the right file" in outcome.error


def test_a_store_that_wants_a_password(store: Path, own_valkey: Valkey) -> None:
    """A missing and a wrong password have their own errors. The right one works."""
    own_valkey.admin.config_set("requirepass", "hunter2")
    file = store / "password"
    with_password = (f"--redis={own_valkey.url}", f"--config={store / 'authz.yaml'}")
    (store / "authz.yaml").write_text("redis: {password_file: password}")
    for password, code, said in (
        ("", 3, f"it wants a password (NOAUTH), and {file} is empty"),
        ("wrong", 3, "check redis.username and redis.password_file"),
        ("hunter2", 0, ""),
    ):
        file.write_text(password)
        outcome = run("init", *with_password)
        assert outcome.code == code
        assert said in outcome.err
        assert "redis.url" not in outcome.err
        assert "hunter2" not in outcome.err


def test_an_unreadable_record(store: Path, valkey: Valkey) -> None:
    """A garbled record is neither shown nor changed."""
    run("keys", "issue", "--client", "a")
    kid = stored.kids(valkey.admin)[0]
    stored.alter(valkey.admin, kid, status="cheerful")
    for command in ("show", "revoke"):
        outcome = run("keys", command, kid)
        assert outcome.code == 3
        assert kid in outcome.error


@contextlib.contextmanager
def proxy(port: int, cut: Callable[[bytes], bool]) -> Iterator[int]:
    """A proxy to the store that closes before the answer if `cut` accepts the request."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def answers(client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)

    def serve(client: socket.socket) -> None:
        # Each thread closes its sockets, also those of a client that comes at the very end.
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            connections.extend((client, server))
            back = threading.Thread(target=answers, args=(client, server), daemon=True)
            back.start()
            while data := client.recv(65536):
                if cut(data):
                    client.shutdown(socket.SHUT_RDWR)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
            back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "command", [("keys", "issue", "--client", "a"), ("keys", "rotate"), ("keys", "revoke")]
)
def test_a_change_that_is_not_confirmed(
    store: Path, valkey: Valkey, command: tuple[str, ...]
) -> None:
    """The error says that the change may have been made, and no key is shown."""
    kid = run("keys", "issue", "--client", "a", "--json").document["kid"]
    named = command if "issue" in command else (*command, kid)
    with proxy(valkey.port, lambda data: b"EVALSHA" in data or b"EVAL" in data) as port:
        outcome = run(*named, "--redis", f"redis://127.0.0.1:{port}/0")
    assert outcome.code == 3
    assert "may have been made: look with `authz keys show`" in outcome.error


def test_a_change_whose_first_answer_is_lost_is_made_once(store: Path, valkey: Valkey) -> None:
    """A change without an answer is sent again, and the second time changes nothing."""
    kid = run("keys", "issue", "--client", "a", "--json").document["kid"]
    lost: list[bytes] = []

    def first(data: bytes) -> bool:
        if b"EVALSHA" not in data or lost:
            return False
        lost.append(data)
        return True

    with proxy(valkey.port, first) as port:
        outcome = run("keys", "disable", kid, "--json", "--redis", f"redis://127.0.0.1:{port}/0")
    assert lost
    assert outcome.code == 0
    assert outcome.document["record"]["version"] == 2
    assert valkey.admin.xlen("authz:{0}:audit") == 2
