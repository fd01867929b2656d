"""`authz keys delete` and `authz keys purge`, and what stays of a deleted key."""

import json
import re

import pytest

from authz.storage.schema import DEFAULT
from tests.support.cli.in_process import refusal
from tests.support.storage import stored

IMPORTED = {"key": "sk-0123456789abcdef", "client": "acme-web"}


def dump(runner) -> str:
    """Return all content of the store as text, without sidecars."""
    admin, found = runner.valkey.admin, []
    for name in sorted(admin.keys("*")):
        kind = admin.type(name)
        read = {
            "string": admin.get,
            "hash": admin.hgetall,
            "zset": lambda name: admin.zrange(name, 0, -1),
            "set": admin.smembers,
            "stream": admin.xrange,
        }[kind]
        found.append(f"{name} {read(name)}")
    return "\n".join(found)


def test_personal_data_of_a_deleted_key_is_gone(runner):
    """Record, indexes, limits and audit entries hold nothing of a deleted key but its kid."""
    kid, text = runner.issue(
        "--name", "Ada Lovelace", "--metadata", "mail=ada@example.com", "--limit", "5/s",
        "--note", "asked by Ada", client="ada",
    )  # fmt: skip
    runner.run("keys", "update", kid, "--name", "Countess of Lovelace")
    runner.valkey.admin.hset(stored.limit(kid), "anything", "1")
    runner.valkey.admin.hset(DEFAULT.applied, kid, '{"fields": {"name": "Ada"}}')
    assert "revoke it first" in refusal(runner.run("keys", "delete", kid), code=1)
    runner.run("keys", "revoke", kid, "--note", "Ada left")

    done = runner.run("keys", "delete", kid, "--note", "request 7")
    assert (done.code, done.out, done.err) == (0, f"{kid} is deleted\n", "")

    rest = dump(runner)
    for personal in ("Ada", "Lovelace", "ada@", "ada'", ":ada"):
        assert personal not in rest
    assert not runner.valkey.admin.exists(stored.key(kid), stored.limit(kid))
    (_, entry) = runner.valkey.admin.xrange(stored.AUDIT)[-1]
    assert (entry["action"], entry["actor"], entry["note"]) == ("delete", "tests", "request 7")
    assert len(json.loads(entry["detail"])["entries"]) == 3
    assert refusal(runner.run("keys", "show", kid), code=1)
    assert runner.run("keys", "verify", stdin=text).code == 1
    assert refusal(runner.run("keys", "delete", kid), code=1)


def test_a_deleted_import_stays_deleted(runner):
    """A deleted key is refused by number and reason when it is imported again."""
    line = json.dumps(IMPORTED)
    runner.run("keys", "import", stdin=line)
    (key,) = runner.run("keys", "list", "--json").document["keys"]
    assert runner.run("keys", "delete", key["kid"], "--force", "--wait").code == 0
    for options in (["--dry-run"], []):
        again = runner.run("keys", "import", *options, stdin=line)
        assert again.code == 1
        assert "deleted" in again.out + again.err
        assert IMPORTED["key"] not in again.out + again.err
    assert runner.run("keys", "list", "--json").document["keys"] == []


def test_a_backup_does_not_bring_a_deleted_key_back(runner):
    """A restore leaves out keys that were deleted before it, or until a later backup."""
    kept, _ = runner.issue()
    early, _ = runner.issue()
    late, _ = runner.issue(client="lovelace")
    runner.run("keys", "delete", early, "--force")
    assert runner.run("backup", "first").code == 0
    runner.run("keys", "delete", late, "--force")
    assert runner.run("backup", "second").code == 0

    def kids_after(*options):
        runner.valkey.admin.flushdb()
        done = runner.run("restore", "first", *options)
        assert (done.code, done.err) == (0, "")
        return {key["kid"] for key in runner.run("keys", "list", "--json").document["keys"]}

    assert kids_after() == {kept, late}
    assert kids_after("--deletions", "second") == {kept}
    assert "lovelace" not in dump(runner)
    assert early not in str(stored.kids(runner.valkey.admin))


def test_purge(runner):
    """purge deletes keys that have been dead for long enough, and no others."""
    active, _ = runner.issue()
    revoked, _ = runner.issue()
    expired, _ = runner.issue()
    runner.run("keys", "revoke", revoked)
    runner.alter(expired, expires_at="5")
    options = ("keys", "purge", "--revoked-for", "30d", "--expired-for", "90d")
    rehearsed = runner.run(*options, "--dry-run")
    assert re.search(
        r"^dry run, nothing is changed: .*, expiry before 20\d\d-", rehearsed.out, re.M
    )
    assert rehearsed.code == 0
    assert f"{expired}  deleted active" in rehearsed.out
    assert revoked not in rehearsed.out
    done = runner.run(*options, "--yes")
    assert (done.code, done.err) == (0, "")
    left = {key["kid"] for key in runner.run("keys", "list", "--json").document["keys"]}
    assert left == {active, revoked}
    assert runner.run("keys", "purge", "--revoked-for", "0", "--yes").code == 0
    assert runner.status(active) == "active"
    assert refusal(runner.run("keys", "show", revoked), code=1)


def test_delete_of_selected_keys(runner):
    """Conditions delete the dead keys among those that fit; the others are refused."""
    dead, _ = runner.issue()
    alive, _ = runner.issue()
    runner.run("keys", "revoke", dead)
    done = runner.run("keys", "delete", "--client", "acme-web", "--yes", "--wait")
    assert done.code == 1
    assert "1 deleted, 0 already deleted, 1 refused" in done.out
    assert f"not deleted: {alive}" in done.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("purge",), "--revoked-for"), (("delete",), "KID"), (("remove",), "keys delete")],
)
def test_wrong_usage(runner, arguments, named):
    """A mistake is one line that says what to do."""
    assert named in refusal(runner.run("keys", *arguments))
