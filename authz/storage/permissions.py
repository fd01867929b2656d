"""Examples of the commands that sidecars and administration send, grouped by purpose.

`authz doctor` checks them with ACL DRYRUN. deploy/redis/users.acl grants them.

SERVING      every sidecar needs these
COUNTING     a sidecar counts limits with these
BEATING      a sidecar behind Sentinel or on a cluster also sends these in each heartbeat
INDEXING     a sidecar reads the index of imported keys with these
REGISTERING  a sidecar writes its registry entry with these
CHANGING     a change to a key needs these

Instead of FCALL also EVALSHA and SCRIPT LOAD are enough: see `by_hash`.
"""

from typing import Final, NamedTuple

from authz.storage import schema
from authz.storage.essential import WRITE
from authz.storage.limits.spend_script import SPEND_FUNCTION

_KID: Final = "0" * 16

Commands = tuple[tuple[str, ...], ...]


class Permissions(NamedTuple):
    """Examples of commands, grouped by purpose; see above."""

    serving: Commands
    counting: Commands
    beating: Commands
    registering: Commands
    indexing: Commands
    changing: Commands


def by_hash(command: tuple[str, ...]) -> Commands:
    """Return the commands by which a sidecar does the same without functions; none for others."""
    if command[0] != "FCALL":
        return ()
    return (("SCRIPT", "LOAD", ""), ("EVALSHA", "0" * 40, *command[2:]))


def permissions(names: schema.Names) -> Permissions:
    """Return example commands for these names, with invented ids.

    They are for ACL DRYRUN, not to run.
    """
    return Permissions(
        serving=(
            ("HELLO", "3"),
            ("PING",),
            ("ROLE",),
            ("TIME",),
            names.subscribe,
            *((("CLUSTER", "SLOTS"),) if names.is_clustered else ()),
            ("GET", names.seq),
            *((("HGET", names.moved, _KID),) if names.partitions > 1 else ()),
            ("HGETALL", names.meta),
            ("HGETALL", names.key(_KID)),
            ("GET", names.key(_KID)),
            ("MGET", names.alias(b"")),
            ("EXISTS", names.meta),
            ("XRANGE", names.log, "-", "+"),
        ),
        counting=(
            ("TIME",),
            ("FCALL", SPEND_FUNCTION.name, "1", names.limit(_KID)),
            ("HMGET", names.limit(_KID), "any"),
            ("HGET", names.limit(_KID), "any"),
            ("HSET", names.limit(_KID), "any", "1"),
            ("PEXPIRE", names.limit(_KID), "1"),
            ("PTTL", names.limit(_KID)),
            ("HGETALL", names.estimates),
        ),
        beating=(("SET", names.heartbeat, "0"),),
        registering=(
            ("SET", names.sidecar("any"), ""),
            ("DEL", names.sidecar("any")),
            ("ZADD", names.sidecars, "1", "any"),
            ("ZREM", names.sidecars, "any"),
            ("ZCOUNT", names.sidecars, "0", "1"),
            ("ZREMRANGEBYSCORE", names.sidecars, "-inf", "0"),
            ("ZADD", names.issued, "1", "any"),
            ("XADD", names.seen, "*", "kid", _KID),
            ("ZREMRANGEBYSCORE", names.issued, "-inf", "0"),
            # On a full store, see essential.py.
            ("FCALL", WRITE.name, "1", names.sidecar("any")),
            ("FCALL", WRITE.name, "1", names.sidecars),
            ("FCALL", WRITE.name, "1", names.issued),
            ("FCALL", WRITE.name, "1", names.seen),
            ("HSCAN", names.blocked, "0"),
            ("HGETALL", names.allowed),
            ("GET", names.abuse_version),
            ("HSET", names.blocked, "any", "1"),
            ("HDEL", names.blocked, "any"),
            ("INCR", names.abuse_version),
            ("FCALL", WRITE.name, "1", names.heartbeat),
        ),
        indexing=(("GETRANGE", names.imported, "0", "1"),),
        changing=(
            ("EVALSHA", "0" * 40, "1", names.key(_KID)),
            ("SCRIPT", "LOAD", ""),
            ("TIME",),
            ("TYPE", names.seq),
            ("GET", names.seq),
            ("SET", names.seq, "1"),
            ("HMGET", names.key(_KID), "version"),
            ("HSET", names.key(_KID), "version", "1"),
            ("GET", names.key(_KID)),
            ("SET", names.key(_KID), ""),
            ("EXISTS", names.log),
            ("XINFO", "STREAM", names.log),
            ("XADD", names.log, "*", "kid", _KID),
            ("XADD", names.audit, "*", "kid", _KID),
            ("XRANGE", names.audit, "-", "+"),
            ("ZADD", names.keys, "1", _KID),
            ("ZADD", names.client("any"), "1", _KID),
            ("ZMSCORE", names.client("any"), _KID),
            ("ZREVRANGE", names.keys, "0", "0"),
            ("ZREM", names.client("any"), _KID),
            ("SPUBLISH" if names.is_clustered else "PUBLISH", names.changes, ""),
            ("GETRANGE", names.imported, "0", "1"),
            ("SETRANGE", names.imported, "0", ""),
            ("APPEND", names.imported, ""),
            ("HDEL", names.meta, "prefix:any"),
            ("HSET", names.applied, _KID, "{}"),
            ("HDEL", names.applied, _KID),
            ("SET", names.leader, "any"),
            ("HSET", names.sink("any"), "cursor", ""),
            ("HGETALL", names.sink("any")),
            ("HLEN", names.dead("any")),
            ("HDEL", names.dead("any"), "any"),
            ("HDEL", names.again("any"), "any"),
            ("SISMEMBER", names.gone(0), "1"),
            ("SMEMBERS", names.gone(0)),
            ("SADD", names.gone(0), "1"),
            ("XDEL", names.audit, "1-0"),
            ("XDEL", names.seen, "1-0"),
            ("HDEL", names.blocked, "any"),
            ("HSET", names.allowed, "any", "any"),
            ("HDEL", names.allowed, "any"),
            ("INCR", names.abuse_version),
            ("DEL", names.key(_KID)),
            ("DEL", names.alias(b"")),
            ("HDEL", names.limit(_KID), "any"),
            *(_claiming(names) if names.partitions > 1 else ()),
        ),
    )


def _claiming(names: schema.Names) -> Commands:
    claim = names.claim(b"")
    return (("GET", claim), ("SET", claim, "0", "EX", "1"), ("DEL", claim))
