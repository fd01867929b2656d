"""The types of replies. A server that answers with others is no Redis or Valkey.

It may be another service on that port, or a proxy that makes replies of its own. Each reply of
redis-py is looked at in one place, so that nothing behind it meets a value of another type.
"""

from collections.abc import Callable
from typing import Any, Final

import redis.asyncio
from redis.exceptions import ResponseError

from authz.storage.refusals import OTHER_REPLIES

_TEXT: Final = (str, bytes, type(None))
_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "EXISTS DEL EXPIRE PTTL INCR STRLEN SETRANGE APPEND WAIT": int,
    "HSET HDEL HLEN SADD SREM SISMEMBER ZADD ZREM ZCARD XDEL PUBLISH SPUBLISH": int,
    "HGETALL HELLO INFO": dict,
    "HMGET MGET ZMSCORE ZRANGE ZREVRANGE ZRANDMEMBER XRANGE XREVRANGE": list,
    "SMEMBERS": (set, list),
    "GET HGET": _TEXT,
    "TYPE GETRANGE": (str, bytes),
    "ZRANK": (int, list, type(None)),
    "TIME": tuple,
}
_BY_COMMAND: Final = {
    command: kinds for words, kinds in _TYPES.items() for command in words.split()
} | {"CONFIG GET": dict}


def expect_types(client: redis.asyncio.Redis) -> None:
    """Make a client raise ResponseError for a reply of another type than ours.

    Its pipelines and transactions do the same.
    """
    callbacks = client.response_callbacks
    wanted = dict.fromkeys(callbacks, object) | _BY_COMMAND
    for command, kinds in wanted.items():
        callbacks[command] = _expecting(str(command), kinds, callbacks.get(command))


def _expecting(
    command: str, wanted: type | tuple[type, ...], parse: Callable[..., Any] | None
) -> Callable[..., Any]:
    def check(reply: Any, **options: Any) -> Any:
        try:
            found = reply if parse is None else parse(reply, **options)
        except (ValueError, TypeError, LookupError, AttributeError):  # it parses other types
            found = NotImplemented
        if isinstance(found, wanted):
            return found
        raise ResponseError(f"its reply to {command} is none of Redis or Valkey{OTHER_REPLIES}")

    return check
