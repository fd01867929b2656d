"""`authz events`."""

import asyncio
import json

import pytest

from authz.cli.main import MISUSED
from authz.core.notifications.catalogue import schema
from authz.core.notifications.notification import row_of
from authz.core.notifications.ports import DeadLetter
from authz.storage import schema as stored
from authz.storage.notifications import StoredLetters

DEAD = "3-0-0123456789ab"


def settings(runner):
    """Write settings with two sinks and return the options that name them."""
    text = "events: {source: here, sinks: {a: {kind: log}, b: {kind: log}}}\n"
    (runner.directory / "authz.yaml").write_text(text)
    return ("--config", "authz.yaml")


async def letter(runner, event_id):
    """Store a dead letter of the sink `a`."""
    async with runner.valkey.endpoint.client() as client:
        one = DeadLetter("authz.key.revoked", "A" * 16, 1_000, "the receiver\x1b answered 500")
        await StoredLetters(client).put("a", event_id, one)


def test_list(runner):
    """Events are listed newest first, by type and key, as sinks get them."""
    kid, _ = runner.issue()
    runner.issue()
    runner.run("keys", "revoke", kid)
    found = runner.run(*settings(runner), "events", "list", "--kid", kid, "--json").document
    newest, oldest = found["events"]
    assert (newest["type"], oldest["type"]) == ("authz.key.revoked", "authz.key.created")
    assert (newest["source"], newest["data"]["client"]) == ("here", "acme-web")
    assert row_of(newest["id"]) == "3-0"
    done = runner.run("events", "list", "--type", "authz.key.rev*")
    assert (done.code, len(done.out.splitlines())) == (0, 2)
    assert runner.run("events", "list", "--type", "authz.key.deleted").out == "no events\n"


@pytest.mark.parametrize("kind", ["key.revoked", "authz.key.revoke", "authz.keys.*"])
def test_a_type_that_no_event_has(runner, kind):
    """The answer says that the type is wrong, and not only that there is no event."""
    done = runner.run("events", "list", "--type", kind)
    assert (done.code, f"no type fits '{kind}'" in done.out) == (0, True)


def test_dead_and_replay(runner):
    """Dead letters are shown by sink and can be asked for again."""
    options = settings(runner)
    asyncio.run(letter(runner, DEAD))
    done = runner.run(*options, "events", "dead")
    assert done.out.splitlines() == [
        "a: not started; `authz admin` with this sink starts it",
        f"  1970-01-01T00:00:01.000Z authz.key.revoked {DEAD}: the receiver\\x1b answered 500",
        "b: not started; `authz admin` with this sink starts it",
    ]
    done = runner.run(*options, "events", "replay", "--all")
    assert done.out == "1 event will be delivered again\n"
    again = runner.valkey.admin.hkeys(stored.DEFAULT.again("a"))
    assert again == [DEAD]
    runner.run(*options, "events", "replay", "--sink", "b", "4-0-0123456789ab")
    assert runner.valkey.admin.hkeys(stored.DEFAULT.again("b")) == ["4-0-0123456789ab"]


def test_schema(runner):
    """The JSON Schema is that of the catalogue."""
    assert json.loads(runner.run("events", "schema").out) == schema()


def test_misuse(runner):
    """Wrong ids, an unknown sink, and ids without a sink are refused."""
    options = settings(runner)
    for words in (
        ("replay",),
        ("replay", "--all", "3-0-0123456789ab"),
        ("replay", "3-0-0123456789ab"),
        ("replay", "--sink", "a", "nonsense"),
        ("replay", "--sink", "c", "--all"),
        ("dead", "--sink", "c"),
    ):
        assert runner.run(*options, "events", *words).code == MISUSED
