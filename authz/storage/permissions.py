"""Examples of the commands that sidecars and administration send, grouped by purpose.

`authz doctor` checks them with ACL DRYRUN. deploy/redis/users.acl grants them.

SERVING      every sidecar needs these
COUNTING     a sidecar counts limits with these
BEATING      a sidecar behind Sentinel also sends these in each heartbeat
REGISTERING  a sidecar writes its registry entry with these
CHANGING     a change to a key needs these
"""

from typing import Final

from authz.storage import schema
from authz.storage.essential import RUN_SHA

_KID: Final = "0" * 16

SERVING: Final = (
    ("HELLO", "3"),
    ("PING",),
    ("ROLE",),
    ("TIME",),
    ("SUBSCRIBE", schema.CHANGES),
    ("GET", schema.SEQ),
    ("HGETALL", schema.META),
    ("HGETALL", schema.key(_KID)),
    ("MGET", schema.alias(b"")),
    ("EXISTS", schema.META),
    ("XRANGE", schema.LOG, "-", "+"),
)
COUNTING: Final = (
    ("SCRIPT", "LOAD", ""),
    ("TIME",),
    ("EVALSHA", "0" * 40, "1", schema.limit(_KID)),
    ("HMGET", schema.limit(_KID), "any"),
    ("HGET", schema.limit(_KID), "any"),
    ("HSET", schema.limit(_KID), "any", "1"),
    ("PEXPIRE", schema.limit(_KID), "1"),
    ("PTTL", schema.limit(_KID)),
)
BEATING: Final = (("SET", schema.HEARTBEAT, "0"),)
REGISTERING: Final = (
    ("SET", schema.sidecar("any"), ""),
    ("DEL", schema.sidecar("any")),
    ("ZADD", schema.SIDECARS, "1", "any"),
    ("ZREM", schema.SIDECARS, "any"),
    ("ZREMRANGEBYSCORE", schema.SIDECARS, "-inf", "0"),
    # On a full store, see essential.py.
    ("EVALSHA", RUN_SHA, "1", schema.sidecar("any")),
    ("EVALSHA", RUN_SHA, "1", schema.SIDECARS),
    ("EVALSHA", RUN_SHA, "1", schema.HEARTBEAT),
)
CHANGING: Final = (
    ("EVALSHA", "0" * 40, "1", schema.key(_KID)),
    ("SCRIPT", "LOAD", ""),
    ("TIME",),
    ("TYPE", schema.SEQ),
    ("GET", schema.SEQ),
    ("SET", schema.SEQ, "1"),
    ("HMGET", schema.key(_KID), "version"),
    ("HSET", schema.key(_KID), "version", "1"),
    ("EXISTS", schema.LOG),
    ("XINFO", "STREAM", schema.LOG),
    ("XADD", schema.LOG, "*", "kid", _KID),
    ("XADD", schema.AUDIT, "*", "kid", _KID),
    ("XRANGE", schema.AUDIT, "-", "+"),
    ("ZADD", schema.KEYS, "1", _KID),
    ("ZADD", schema.client("any"), "1", _KID),
    ("ZREM", schema.client("any"), _KID),
    ("PUBLISH", schema.CHANGES, ""),
)
