"""Texts from the store that would act on a terminal: every command shows them escaped."""

import json
import re

import pytest

HOSTILE = "x\x1b]0;owned\x07\r\n\u202efake: ok\u2066\x9b31m\x00"
KID = re.compile(r"[0-9A-Za-z]{16}")


def spoil(runner, valkey, where):
    """Put control characters into the audit trail or into a record. Return the kid."""
    kid = KID.findall(runner.run("keys", "issue", "--client", "acme", "--note", "fine").err)[0]
    name = f"authz:{{0}}:key:{kid}"
    if where == "audit":
        spoil_stream(valkey.admin, "authz:{0}:audit")
    else:
        valkey.admin.hset(name, mapping={"name": HOSTILE, "metadata": json.dumps({"a": HOSTILE})})
    valkey.admin.zadd("authz:sidecars", {"evil\x1b[2J": 1})
    return kid


def spoil_stream(admin, name):
    """Replace printable texts of each entry of a stream, with the same ids."""
    entries = admin.xrange(name)
    admin.delete(name)
    for number, fields in entries:
        spoilt = {
            field: HOSTILE if field in {"actor", "note"} else value
            for field, value in fields.items()
        }
        admin.xadd(name, spoilt, id=number)


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "list"),
        ("keys", "show", "{kid}"),
        ("keys", "history", "{kid}"),
        ("keys", "limits", "{kid}"),
        ("keys", "disable", "{kid}"),
        ("sidecars",),
        ("doctor",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("where", ["audit", "record"])
def test_no_control_character_reaches_the_terminal(runner, valkey, where, command, form):
    """Stdout and stderr have none, and no hostile text begins a line."""
    kid = spoil(runner, valkey, where)
    done = runner.run(*(word.format(kid=kid) for word in command), *form)
    for text in (done.out, done.err):
        for line in text.split("\n"):
            assert line.isprintable(), ascii(line)
            assert not line.startswith(("fake", "\\u202efake"))


def test_the_escapes_are_shown(runner, valkey):
    """An operator sees the hostile text of an actor in escaped form."""
    shown = runner.run("keys", "history", spoil(runner, valkey, "audit")).out
    assert "x\\x1b]0;owned\\x07\\r\\n\\u202efake" in shown


def test_scores_that_are_no_times(runner, valkey):
    """A list has every key, whatever stands in the indexes of creation and of the latest use."""
    kids = [runner.issue()[0] for _ in range(4)]
    for name in ("authz:{0}:keys", "authz:{0}:use:last"):
        valkey.admin.zadd(name, dict(zip(kids, ("inf", "-inf", 1e300, -5), strict=True)))
    done = runner.run("keys", "list", "--columns", "kid,last-used")
    assert (done.code, done.err) == (0, "")
    assert sorted(KID.findall(done.out)) == sorted(kids)
    assert runner.run("usage", "top").code == 0
