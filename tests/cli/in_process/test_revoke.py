"""`authz keys revoke` by the key itself, and for all keys of a client."""

import asyncio
import json
import re

import pytest

from authz.flows.bulk_change import BATCH
from tests.bench.listing import CLIENTS, fill
from tests.support.cli.in_process import CTRL_C, on_a_terminal, refusal
from tests.support.storage import stored

KID = "7Hk2mQ9xT4bVzR1c"


def test_revoke_by_the_key(runner):
    """Each secret of a key is enough to revoke it."""
    kid, old = runner.issue()
    runner.run("keys", "rotate", kid, "--grace", "0")
    done = runner.run("keys", "revoke", "--key-stdin", stdin=f"{old}\r\n")
    assert (done.code, done.out, done.err) == (0, f"{kid} is now revoked\n", "")


def test_revoke_by_a_key_that_is_not_genuine(runner):
    """A forged key revokes nothing. The error tells its fault and its kid."""
    kid, text = runner.issue()
    swap = "x" if text[40] != "x" else "y"
    for given in (text[:40] + swap + text[41:], text[:25] + "2" + text[26:]):
        line = refusal(runner.run("keys", "revoke", "--key-stdin", stdin=given), code=1)
        assert f"so nothing is revoked; it names {kid}" in line
        assert text[30:60] not in line
    line = refusal(runner.run("keys", "revoke", "--key-stdin", stdin="ghp_something"), code=1)
    assert "not a key of this installation" in line
    assert runner.status(kid) == "active"


def test_revoke_by_an_imported_key(runner):
    """The text of an imported key leads to its kid, also after a rotation."""
    text = "sk-0123456789abcdef"
    runner.run("keys", "import", stdin=json.dumps({"key": text, "client": "acme-web"}))
    (record,) = runner.run("keys", "list", "--json").document["keys"]
    kid = record["kid"]
    runner.run("keys", "rotate", kid, "--grace", "0")
    done = runner.run("keys", "revoke", "--key-stdin", stdin=f"{text}\n")
    assert (done.code, done.out, done.err) == (0, f"{kid} is now revoked\n", "")
    again = runner.run("keys", "revoke", "--key-stdin", stdin=text)
    assert (again.code, again.out) == (0, f"{kid} is already revoked\n")


def imported(runner, text):
    """Import a key and return its kid."""
    runner.run("keys", "import", stdin=json.dumps({"key": text, "client": "acme-web"}))
    (record,) = runner.run("keys", "list", "--client", "acme-web", "--json").document["keys"]
    return record["kid"]


def test_revoke_by_an_imported_key_that_the_store_gives_another_kid(runner):
    """A writer of the store can point an alias at any key. That key is not revoked."""
    text = "sk-0123456789abcdef"
    kid, (other, _) = imported(runner, text), runner.issue(client="acme-batch")
    (alias,) = runner.valkey.admin.keys("authz:{0}:alias:*")
    runner.valkey.admin.set(alias, other)
    line = refusal(runner.run("keys", "revoke", "--key-stdin", stdin=text), code=1)
    assert f"the store leads from this key to {other}" in line
    assert "nothing is revoked" in line
    assert text not in line
    assert (runner.status(kid), runner.status(other)) == ("active", "active")
    runner.valkey.admin.set(alias, "\x1b[2J")
    line = refusal(runner.run("keys", "revoke", "--key-stdin", stdin=text), code=1)
    assert "\x1b" not in line


def test_revoke_by_an_imported_key_that_its_record_has_forgotten(runner):
    """After 5 rotations the record does not prove the text. The error says how to revoke it."""
    text = "sk-0123456789abcdef"
    kid = imported(runner, text)
    for _ in range(5):
        runner.run("keys", "rotate", kid, "--grace", "0")
    line = refusal(runner.run("keys", "revoke", "--key-stdin", stdin=text), code=1)
    assert "after 5 rotations" in line
    assert f"`authz keys revoke {kid}`" in line
    assert runner.status(kid) == "active"
    assert runner.run("keys", "revoke", kid).code == 0


def test_revoke_by_an_imported_key_whose_record_was_altered(runner):
    """A record with a wrong seal proves no text. The error names the kid, which is enough."""
    text = "sk-0123456789abcdef"
    kid = imported(runner, text)
    runner.valkey.admin.hset(stored.key(kid), "name", "x")
    line = refusal(runner.run("keys", "revoke", "--key-stdin", stdin=text), code=1)
    assert "its seal is wrong" in line
    assert f"`authz keys revoke {kid}`" in line
    assert runner.run("keys", "revoke", kid).code == 0


def test_revoke_by_a_key_that_was_not_imported(runner):
    """The error says that the key is unknown, and does not show it."""
    stranger = "ghp_0123456789abcdef"
    line = refusal(runner.run("keys", "revoke", "--key-stdin", stdin=stranger), code=1)
    assert "stdin: not a key of this installation, and none were imported here" in line
    runner.run("keys", "import", stdin='{"key": "sk-0123456789abcdef", "client": "acme-web"}')
    other = refusal(runner.run("keys", "revoke", "--key-stdin", stdin=stranger), code=1)
    assert "stdin: no key was imported with this text" in other
    assert stranger not in line + other


def test_revoke_all_keys_of_a_client(runner):
    """--client --yes revokes all keys of the client and reports them. Other clients keep theirs."""
    kids = {runner.issue()[0] for _ in range(3)}
    other, _ = runner.issue(client="acme-batch")
    done = runner.run("keys", "revoke", "--client", "acme-web", "--yes", "--json")
    assert done.code == 0
    assert set(done.document.pop("revoked")) == kids
    assert done.document == done.document | {"client": "acme-web", "failed": []}
    assert {runner.status(kid) for kid in kids} == {"revoked"}
    assert runner.status(other) == "active"
    again = runner.run("keys", "revoke", "--client", "acme-web", "--yes")
    assert (again.code, again.out, again.err) == (
        0,
        "client acme-web: 0 revoked, 3 already revoked, 0 failed\n",
        "",
    )


def test_revoke_goes_on_after_a_failure(runner):
    """A key that cannot be revoked is reported, the others are revoked, the exit code is 1."""
    kids = [runner.issue()[0] for _ in range(3)]
    runner.alter(kids[1], secrets="[]")
    done = runner.run("keys", "revoke", "--client", "acme-web", "--yes")
    assert (done.code, done.out) == (1, "client acme-web: 2 revoked, 0 already revoked, 1 failed\n")
    assert done.err.startswith(f"not revoked: {kids[1]}: record {kids[1]}: secrets")
    (failed,) = json.loads(
        runner.run("keys", "revoke", "--client", "acme-web", "--yes", "--json").out
    )["failed"]
    assert failed["kid"] == kids[1]


def test_revoke_a_key_whose_record_was_altered(runner):
    """A wrong seal hinders no revocation by the kid. The wait counts with the longest grace."""
    kid, _ = runner.issue()
    runner.valkey.admin.hset(stored.key(kid), mapping={"status": "revoked", "outage_grace": "0"})
    assert runner.run("keys", "disable", kid).code == 3
    done = runner.run("keys", "revoke", kid, "--json")
    assert (done.code, done.document["changed"]) == (0, True)
    assert runner.status(kid) == "revoked"
    assert shown_grace(runner, kid) == "86400000"
    assert runner.run("keys", "revoke", kid).out == f"{kid} is already revoked\n"


@pytest.mark.parametrize("selected", [(), ("--status", "active")], ids=["client", "status"])
def test_revoke_all_keys_of_a_client_of_which_one_was_altered(runner, selected):
    """A wrong seal hinders no revocation of many keys, as it hinders none of one key."""
    kids = {runner.issue()[0] for _ in range(3)}
    altered = min(kids)
    runner.valkey.admin.hset(stored.key(altered), mapping={"name": "x", "outage_grace": "0"})
    command = ("keys", "revoke", "--client", "acme-web", *selected)
    rehearsed = runner.run(*command, "--dry-run", "--json")
    assert (rehearsed.code, len(rehearsed.document["would_change"])) == (0, 3)
    disabled = runner.run("keys", "disable", "--client", "acme-web", "--yes", "--json")
    assert [one["kid"] for one in disabled.document["failed"]] == [altered]
    for kid in kids - {altered}:
        runner.run("keys", "enable", kid)
    done = runner.run(*command, "--yes", "--json")
    assert (done.code, done.document["failed"], done.document["skipped"]) == (0, [], 0)
    assert set(done.document["revoked"]) == kids
    assert {runner.status(kid) for kid in kids} == {"revoked"}
    assert shown_grace(runner, altered) == "86400000"


def test_revoke_all_keys_of_a_client_leaves_an_altered_key_of_another(runner):
    """An altered record that says another client is reported, and is not revoked."""
    kid, _ = runner.issue()
    runner.valkey.admin.hset(stored.key(kid), "client_id", "mallory")
    done = runner.run("keys", "revoke", "--client", "acme-web", "--yes", "--json")
    assert (done.code, done.document["revoked"]) == (1, [])
    assert [one["kid"] for one in done.document["failed"]] == [kid]
    assert runner.valkey.admin.hget(stored.key(kid), "status") == "active"


def shown_grace(runner, kid):
    """Return the grace of a key as it is stored, in ms."""
    return runner.valkey.admin.hget(stored.key(kid), "outage_grace")


def test_revoke_asks_nobody_without_a_terminal(runner):
    """Without a terminal, --client needs --yes."""
    kid, _ = runner.issue()
    assert "--yes: is needed" in refusal(runner.run("keys", "revoke", "--client", "acme-web"))
    assert runner.status(kid) == "active"


@pytest.mark.parametrize(
    ("typed", "code", "status"),
    [("n\n", 1, "active"), ("\n", 1, "active"), ("y\n", 0, "revoked"), (CTRL_C, 130, "active")],
    ids=["no", "enter", "yes", "Ctrl-C"],
)
def test_revoke_asks_on_a_terminal(runner, typed, code, status):
    """The question tells the number of keys. Without a yes nothing is revoked."""
    kid, _ = runner.issue()
    done = on_a_terminal("keys", "revoke", "--client", "acme-web", typed=typed, after="[y/N]: ")
    assert "revoke 1 keys of client acme-web, for ever?" in done.out
    assert "Traceback" not in done.out
    assert (done.code, runner.status(kid)) == (code, status)


def test_ctrl_c_while_many_keys_are_revoked(runner):
    """Ctrl-C keeps and reports the finished revocations. A second run continues."""
    count = 4000
    asyncio.run(filled(runner.valkey, count))
    command = ("keys", "revoke", "--client", CLIENTS[0], "--yes")
    done = on_a_terminal(*command, typed=CTRL_C, after="revoking")
    assert done.code == 130
    assert "Traceback" not in done.out
    stopped = re.search(r"stopped: (\d+) of (\d+) revoked; run it again", done.out)
    assert int(stopped[2]) == count // 2
    again = runner.run(*command, "--json").document
    assert len(again["revoked"]) + again["already_revoked"] == count // 2
    assert 0 <= again["already_revoked"] - int(stopped[1]) <= BATCH  # one may be on its way


async def filled(valkey, count):
    """A store with many keys."""
    client = valkey.endpoint.client()
    await fill(client, count)
    await client.aclose()
    valkey.admin.set(stored.SEQ, count)
    valkey.admin.hdel(stored.META, "sealed")  # these records have no seals


def test_a_key_typed_on_a_terminal_is_not_shown(runner):
    """A key that is pasted at the prompt is not echoed."""
    kid, text = runner.issue()
    done = on_a_terminal("keys", "verify", typed=f"{text}\n", after="(not shown)")
    assert (done.code, text in done.out) == (0, False)
    assert f"allow: {kid}" in done.out


@pytest.mark.parametrize(
    "arguments",
    [(), (KID, "--key-stdin"), (KID, "--client", "a"), ("--client", "a", "--key-stdin"),
     (KID, "--yes")],
    ids=" ".join,
)  # fmt: skip
def test_revoke_takes_one_way_to_name_keys(runner, arguments):
    """Exactly one of KID, --key-stdin and --client is needed."""
    refusal(runner.run("keys", "revoke", *arguments))


@pytest.mark.parametrize(
    "wrapped", ['API_KEY="{}"', "Authorization: Bearer {}", "curl -H 'x-api-key: {}' https://a.com"]
)
def test_revoke_by_a_key_in_pasted_text(runner, wrapped):
    """A leak is found in a file, a header or a command."""
    kid, text = runner.issue()
    done = runner.run("keys", "revoke", "--key-stdin", stdin=wrapped.format(text))
    assert (done.code, done.out, done.err) == (0, f"{kid} is now revoked\n", "")


def test_a_key_that_is_cut_off_revokes_nothing_and_names_its_kid(runner):
    """The kid alone proves nothing, but a person may know that it is the one."""
    kid, text = runner.issue()
    for given in (text[:40], f'KEY="{text[:-3]}"', f"{text[:26]}..."):
        line = refusal(runner.run("keys", "revoke", "--key-stdin", stdin=given), code=1)
        assert f"nothing is revoked; it names {kid}" in line
        assert f"`authz keys revoke {kid}`" in line
    assert runner.status(kid) == "active"
