"""A bad option value gives one line that names the option and shows a good value."""

import os
import subprocess

import pytest

from tests.support.cli.in_process import AUTHZ, refusal
from tests.support.cli.terminal import Outcome

KID = "7Hk2mQ9xT4bVzR1c"


BAD = [
    (("list", "--limit", "0"), "--limit: '0': a number from 1 to 1000"),
    (("list", "--limit", "ten"), "--limit"),
    (("list", "--limit", "1001"), "--limit"),
    (("list", "--cursor", "x"), "cursor: 'x': the `next` of a page, or a kid"),
    (("list", "--client", "a b"), "--client"),
    (("list", "--status", "dead"), "'--status': 'dead' is not one of 'active'"),
    (("history", "x"), "KID: not a kid"),
    (("update", KID), "nothing to change; give an option, such as --name"),
    (("update", KID, "--client", ""), "--client"),
    (("update", KID, "--project", "a,b"), "--project"),
    (("update", KID, "--tenant", "a\n"), "--tenant"),
    (("update", KID, "--name", "a\x1b[1m"), "--name"),
    (("update", KID, "--scope", "a b"), "--scope: 'a b': give one scope at a time"),
    (("update", KID, "--add-scope", "a,b"), "--add-scope: 'a,b': give one scope at a time"),
    (("update", KID, "--remove-scope", "!"), "--remove-scope: '!' is not a scope, such as"),
    (("update", KID, "--scope", "a", "--add-scope", "b"), "--scope: replaces all scopes"),
    (
        ("update", KID, "--add-scope", "a", "--remove-scope", "a"),
        "--add-scope: 'a' is in --remove-scope",
    ),
    (("update", KID, "--host", "https://a"), "--host: 'https://a' is not a host, such as"),
    (("update", KID, "--origin", "a/b"), "--origin: 'a/b' is not an origin, such as"),
    (("update", KID, "--origin", "NULL"), "--origin: 'null' stands for no origin; such as https:"),
    (("update", KID, "--cidr", "10.0.0.1/8"), "--cidr: '10.0.0.1/8' is not an address block"),
    (("issue", "--client", "a", "--expires-at", "soon"), "--expires-at: 'soon' is not a time"),
    (
        ("issue", "--client", "a", "--expires-at", "never", "--expires-in", "1d"),
        "--expires-at: give either it or --expires-in",
    ),
    (("update", KID, "--expires-in", "soon"), "--expires-in: 'soon' is not a duration, such as"),
    (("update", KID, "--expires-in", "2030-01-01T00:00:00Z"), "--expires-in"),
    (("update", KID, "--expires-at", "soon"), "--expires-at: 'soon' is not a time, such as"),
    (("update", KID, "--expires-at", "never", "--expires-in", "1d"), "--expires-at: give either"),
    (("update", KID, "--not-before", "never"), "--not-before: 'never' is not a time, such as"),
    (("update", KID, "--metadata", "a"), "--metadata: 'a' is not name=value, such as team=web"),
    (("update", KID, "--metadata", "a=1", "--metadata", "a=2"), "--metadata: 'a' is given twice"),
    (("update", KID, "--clear", "client"), "'--clear': 'client' is not one of 'project'"),
    (("update", KID, "--clear", "host", "--host", "a.com"), "--clear: host has a value"),
    (("update", KID, "--note", "a\nb"), "--note"),
    (("verify", "--ip", "localhost"), "--ip: 'localhost' is not an address, such as 203.0.113.7"),
    (("verify", "--ip", "10.0.0.0/8"), "--ip"),
    (("verify", "--path", "v1"), "--path: 'v1': not a path, such as /v1/models"),
    (("verify", "--path", "/a b"), "--path"),
    (("verify", "--path", ""), "--path: '': not a path, such as /v1/models"),
    (("verify", "--method", ""), "--method: '': not a method, such as POST"),
    (("verify", "--method", "get"), "--method: 'get': not a method, such as POST"),
    (("verify", "--host", "a,b"), "--host: 'a,b': not a host, such as api.example.com"),
    (("verify", "--origin", "a\x00"), "--origin"),
    (("verify", "--scope", "a b"), "--scope"),
    (("verify", "--cost", "ten"), "--cost: 'ten': a cost is a whole number from 0 to 1000000"),
    (("verify", "--cost", "-1"), "--cost: '-1': a cost is a whole number"),
    (("verify", "--env", "prod"), "'--env': 'prod' is not one of 'live', 'test'"),
    (("revoke", "--client", "a b", "--yes"), "--client"),
    (("revoke", KID, "--reason", "because"), "'--reason'"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_is_named(runner, arguments, said):
    """One line names the option and shows a good value. The exit code is 2."""
    assert said in refusal(runner.run("keys", *arguments, stdin="x"))


@pytest.mark.parametrize("reading", ["strict", "surrogateescape"])
@pytest.mark.parametrize("command", [("verify",), ("revoke", "--key-stdin")], ids=" ".join)
def test_bytes_that_are_no_text(runner, command, reading):
    """Invalid bytes on stdin are refused, whatever the locale decodes."""
    environment = os.environ | {"PYTHONIOENCODING": f"utf-8:{reading}"}
    done = subprocess.run(
        [*AUTHZ, "keys", *command],
        input=b"\xff\xfe" * 20,
        capture_output=True,
        env=environment,
        timeout=30,
        check=False,
    )
    line = refusal(Outcome(done.returncode, done.stdout.decode(), done.stderr.decode()))
    assert line.startswith("authz: stdin: is not text; give one key on one line")


@pytest.mark.parametrize(
    "text", ["203.0.113.0/24", "203.0.113.7/32", "2001:db8::/32", "2001:db8::7/64", "/", "a"]
)
def test_a_network_is_no_blocked_client(runner, text):
    """A network is not taken for one of its addresses, whose block alone would end."""
    line = refusal(runner.run("abuse", "clear", text))
    assert "is not an address, such as 203.0.113.7" in line


def test_a_listed_client_can_be_cleared(runner):
    """An IPv6 client is listed as a network, and an address is one of it."""
    spellings = ("2001:db8::/64", "2001:DB8::/64", "2001:db8:0:0::/64")
    for text in (*spellings, "2001:db8::7", "203.0.113.7"):
        assert runner.run("abuse", "clear", text).out == "0 blocks ended\n"
