"""Commands on a server that is no Redis or Valkey, or that is not ready for anybody."""

import os
from pathlib import Path

import pytest

from tests.support.cli.in_process import refusal
from tests.support.storage.imitations import imitation, says

KID = "7Hk2mQ9xT4bVzR1c"
COMMANDS = [
    *(("init",), ("keys", "list"), ("keys", "issue", "--client", "a"), ("keys", "history", KID)),
    *(("keys", "revoke", KID), ("backup", "new.backup"), ("restore", "old.backup")),
    *(("reseal",), ("compact",), ("sidecars",), ("audit", "verify"), ("usage",)),
    ("events", "list"),
]
VALUES = {
    "nothing": b"_\r\n",
    "a nil of RESP2": b"$-1\r\n",
    "a number": b":1\r\n",
    "a fraction": b",1.5\r\n",
    "a truth": b"#t\r\n",
    "a text": b"+OK\r\n",
    "an empty text": b"$0\r\n\r\n",
    "no UTF-8": b"$2\r\n\xff\xfe\r\n",
    "a list": b"*2\r\n+a\r\n+b\r\n",
    "an empty list": b"*0\r\n",
    "a map": b"%1\r\n+a\r\n+b\r\n",
    "a set": b"~1\r\n+a\r\n",
    "a notice": b">2\r\n+message\r\n+x\r\n+OK\r\n",
}
ERRORS = {
    "loading": (b"-LOADING Valkey is loading the dataset in memory\r\n", "wait until it is done"),
    "protected": (b"-DENIED Redis is running in protected mode because\r\n", "users.acl"),
    "no HELLO": (b"-ERR unknown command 'HELLO', with args beginning with: '3'\r\n", "RESP3"),
    "no RESP3": (b"-NOPROTO unsupported protocol version\r\n", "RESP3"),
    "another protocol": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "another service on that port"),
    "TLS": (b"\x15\x03\x03\x00\x02\x02\x46", "rediss://"),
}


@pytest.fixture
def at(runner, monkeypatch):
    """Return a function that sends commands to another server. There is a backup file."""
    assert runner.run("backup", "old.backup").code == 0
    return lambda url: monkeypatch.setenv("AUTHZ_REDIS__URL", url)


@pytest.mark.parametrize("reply", VALUES.values(), ids=VALUES)
def test_a_server_that_answers_everything_alike(runner, at, reply):
    """Each command ends with one line and exit code 3, and the doctor fails."""
    with imitation(says(reply)) as url:
        at(url)
        for command in COMMANDS:
            done = runner.run(*command)
            assert (done.code, done.out) == (3, ""), (command, done)
            assert done.err.startswith("authz: the store "), (command, done)
            assert done.err.count("\n") == 1, (command, done)
        done = runner.run("doctor")
        assert (done.code, done.err) == (1, "")
    assert not Path("new.backup").exists()
    assert sorted(os.listdir()) == [".authz-pepper-1.state", "authz-pepper-1", "old.backup"]


@pytest.mark.parametrize(("reply", "remedy"), ERRORS.values(), ids=ERRORS)
def test_a_server_that_nobody_can_use(runner, at, reply, remedy):
    """The line names the cause and the remedy, and gives no other advice beside it."""
    with imitation(says(reply, greets=False)) as url:
        at(url)
        for command in (("init",), ("keys", "list"), ("restore", "old.backup")):
            line = refusal(runner.run(*command), 3)
            assert remedy in line
            assert "check redis.url" not in line
        assert remedy in runner.run("doctor").out
