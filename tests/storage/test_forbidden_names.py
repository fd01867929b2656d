"""deploy/redis/users.acl, name by name: what each user of the store may not write or read.

Every command is really sent, and the store has a value of the right type under every name. So a
right that is too wide changes the store, and the test sees it.
"""

import re

import pytest

from authz.core.errors import Unavailable
from authz.storage.schema import DEFAULT
from tests.storage.test_users import (
    ADMIN,
    ALL,
    CONSOLE,
    METER,
    SIDECAR,
    guarded,
    guarded_valkey,
    linked,
)
from tests.support.fakes import KID

__all__ = ["guarded", "guarded_valkey"]

DIGITS = "0" * 64
USAGE = DEFAULT.usage
NAMES = {
    "string": [
        *(DEFAULT.seq, DEFAULT.imported, DEFAULT.heartbeat, DEFAULT.restoring, DEFAULT.leader),
        DEFAULT.resharder,
        *(DEFAULT.abuse_version, DEFAULT.alias(b"n" * 32), DEFAULT.request(DIGITS)),
        *(
            DEFAULT.ended(DIGITS),
            DEFAULT.report(DIGITS),
            DEFAULT.open_report(DIGITS),
            DEFAULT.sidecar("another"),
        ),
        *(f"{USAGE}judging", f"{USAGE}{KID}:o", f"{USAGE}{KID}:pm", f"{USAGE}{KID}:habits"),
    ],
    "hash": [
        *(DEFAULT.meta, DEFAULT.key(KID), DEFAULT.limit(KID), DEFAULT.once(DIGITS)),
        *(DEFAULT.applied, DEFAULT.signing, DEFAULT.moved, DEFAULT.leaked, DEFAULT.ruled),
        DEFAULT.resharding,
        *(DEFAULT.rotated, DEFAULT.deliveries, DEFAULT.sink("x"), DEFAULT.dead("x")),
        *(DEFAULT.again("x"), DEFAULT.blocked, DEFAULT.allowed, DEFAULT.estimates),
        *(f"{USAGE}{KID}", f"{USAGE}odd:1", f"{USAGE}judged", f"{USAGE}sums", f"{USAGE}learned"),
    ],
    "zset": [
        *(DEFAULT.keys, DEFAULT.client("acme"), DEFAULT.sidecars, DEFAULT.issued),
        f"{USAGE}last",
    ],
    "set": [DEFAULT.gone(0), f"{USAGE}seen:1"],
    "stream": [DEFAULT.log, DEFAULT.audit, DEFAULT.seen],
}
ANY = [("DEL",), ("UNLINK",), ("EXPIRE", "1"), ("PERSIST",), ("RENAME", "x"), ("COPY", "x")]
WRITES = {
    "string": [("SET", "x"), ("APPEND", "x"), ("SETRANGE", "0", "x"), ("GETDEL",), ("INCR",)],
    "hash": [("HSET", "a", "b"), ("HDEL", "a"), ("HINCRBY", "n", "1"), ("HSETNX", "c", "d")],
    "zset": [("ZADD", "1", "x"), ("ZREM", "a"), ("ZINCRBY", "1", "a"), ("ZPOPMIN",)],
    "set": [("SADD", "x"), ("SREM", "a"), ("SPOP",)],
    "stream": [("XADD", "*", "a", "b"), ("XDEL", "1-0"), ("XTRIM", "MAXLEN", "0")],
}
READS = {
    "string": [("GET",), ("GETRANGE", "0", "9"), ("STRLEN",), ("MGET",)],
    "hash": [("HGETALL",), ("HGET", "a"), ("HMGET", "a"), ("HKEYS",), ("HLEN",), ("HSCAN", "0")],
    "zset": [("ZRANGE", "0", "-1"), ("ZSCORE", "a"), ("ZCARD",), ("ZSCAN", "0")],
    "set": [("SMEMBERS",), ("SISMEMBER", "a"), ("SSCAN", "0")],
    "stream": [("XRANGE", "-", "+"), ("XREVRANGE", "+", "-"), ("XLEN",), ("XREAD",)],
}
# The commands of these that each user may run, with the names for which it may.
ALLOWED = {
    SIDECAR: {
        "SET": "heartbeat|sidecar:.*",
        "DEL": "sidecar:.*",
        "ZADD ZREM": "sidecars|issued",
        "XADD": "events:seen",
        "HSET": "abuse:blocked|limit:.*",
        "HDEL": "abuse:blocked",
        "INCR": "abuse:version",
        "GET GETRANGE MGET": "seq|imported|alias:.*|abuse:version",
        "HGETALL": "meta|key:.*|abuse:.*|use:estimates",
        "HGET": "limit:.*|moved",
        "HSCAN": "abuse:blocked",
        "HMGET": "limit:.*",
        "XRANGE": "log",
    },
    METER: {
        "HSET": "use:.*|limit:.*",
        "HMGET": "use:.*|limit:.*|meta",
        "HGET HDEL HLEN HINCRBY EXPIRE SADD ZADD ZCARD ZRANGE": "use:.*",
        "GET SET": "use:.*:o|use:.*:p.",
        "SETRANGE": "use:.*:o",
    },
    CONSOLE: {"GET HGETALL HMGET ZRANGE ZCARD XRANGE XREVRANGE": ".*"},
    ADMIN: {
        "SET": "seq|heartbeat|restoring|(alias|request|ended|events|use):.*|imported",
        "SETRANGE APPEND": "imported",
        "INCR": "abuse:version",
        "DEL": "(key|alias|limit|use):.*",
        "EXPIRE": "use:.*",
        "HSET": "meta|applied|signing|moved|(key|limit|events|abuse|use):.*",
        "HDEL": "meta|applied|signing|(limit|events|abuse|use):.*",
        "HLEN": "(events|use):.*",
        "HSCAN": "moved",
        "ZADD ZREM": "keys|client:.*",
        "SADD": "gone:.*",
        "XADD": "log|audit|events:seen",
        "XDEL": "audit|events:seen",
        "GET GETRANGE MGET HGET HMGET HGETALL ZRANGE ZCARD SMEMBERS SISMEMBER XRANGE": ".*",
        "XREVRANGE": ".*",
    },
}
VALUES = {
    "string": ("SET", "1"),
    "hash": ("HSET", "a", "1", "n", "1"),
    "zset": ("ZADD", "1", "a"),
    "set": ("SADD", "a"),
    "stream": ("XADD", "1-0", "a", "b"),
}


def sent(name, command):
    """Return a command on a name, as it is sent."""
    if command[0] == "XREAD":
        return ("XREAD", "STREAMS", name, "0")
    return (command[0], name, *command[1:])


def is_allowed(user, name, command):
    """Return whether ALLOWED has it."""
    rest = name.removeprefix("authz:").removeprefix("{0}:")
    return any(
        command[0] in words.split() and re.fullmatch(pattern, rest)
        for words, pattern in ALLOWED[user].items()
    )


def test_every_name_of_the_schema_is_tried():
    """A name that the schema gets is missing here until somebody says who may use it."""
    tried = {name for names in NAMES.values() for name in names}
    fixed = {
        value
        for value in vars(DEFAULT).values()
        if isinstance(value, str) and value.startswith("authz:") and value != "authz:{0}"
    }
    fixed = {value for value in fixed if not value.endswith(":")}  # beginnings of names
    assert fixed - tried == {DEFAULT.changes}  # the channel


@pytest.mark.parametrize("user", ALL)
async def test_each_command_on_each_name(guarded_valkey, user):
    """A command that the table does not allow is refused and changes nothing."""
    ask, refused = guarded_valkey.admin.execute_command, 0
    for kind, names in NAMES.items():
        for name in names:
            ask(*sent(name, VALUES[kind]))
    before = {name: ask("DUMP", name, NEVER_DECODE=True) for name in ask("KEYS", "*")}
    async with linked(guarded_valkey, user) as link:
        for kind, names in NAMES.items():
            for name in names:
                for command in ANY + WRITES[kind] + READS[kind]:
                    words = sent(name, command)
                    if is_allowed(user, name, command):
                        assert ask("ACL", "DRYRUN", user, *words) == "OK", words
                        continue
                    with pytest.raises(Unavailable, match="NOPERM"):
                        await link.call(*words)
                    refused += 1
    after = {name: ask("DUMP", name, NEVER_DECODE=True) for name in ask("KEYS", "*")}
    assert after == before
    assert refused >= 200


async def test_a_right_that_is_too_wide_is_noticed(guarded_valkey):
    """The test above fails if one name more may be written."""
    ask = guarded_valkey.admin.execute_command
    ask("ACL", "SETUSER", CONSOLE, f"(+hset ~{DEFAULT.deliveries})")
    try:
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            await test_each_command_on_each_name(guarded_valkey, CONSOLE)
    finally:
        ask("ACL", "LOAD")
