"""Writes that must succeed on a store that is over its `maxmemory`.

Over `maxmemory` a store with the policy noeviction refuses SET and ZADD. A script that begins with
`#!lua flags=allow-oom` is exempt, and so is a function with that flag. After the first refusal on a
link, a sidecar sends these writes through the function, or through the script in a store without
it. Its user needs `+fcall` on the names: see deploy/redis/users.acl.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import hiredis
from redis import exceptions

from authz.storage.link import Link
from authz.storage.linked_script import StoreFunction

ALLOW_OOM: Final = "#!lua flags=allow-oom\n"
WRITE: Final = StoreFunction(
    "write", "return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))", "allow-oom"
)
RUN: Final = WRITE.text

OnReply = Callable[[Any], None]


def is_full(reply: object) -> bool:
    """Return whether an error reply or redis-py exception says that the store is out of memory.

    False for a reply that is no error.
    """
    return isinstance(reply, exceptions.OutOfMemoryError) or (
        isinstance(reply, Exception) and "OOM " in str(reply)
    )


class EssentialWrites:
    """Sends writes of one name each on a link.

    After the first OOM reply on a link it uses a script.
    """

    def __init__(self) -> None:
        self._full: Link | None = None  # the link whose store was found full
        self._by_hash = False  # that store has no function

    def send(self, link: Link, on_reply: OnReply, *command: str) -> None:
        """Send one write and return at once.

        command: its name, the name in the store, then arguments. `on_reply` is called once, with
        the reply of the command or of the script, or an exception as a value. A write refused for
        lack of memory is sent again by script.
        """
        if link is self._full:
            self._run(link, on_reply, command)
        else:
            link.send(partial(self._on_reply, link, on_reply, command), *command)

    def _on_reply(
        self, link: Link, on_reply: OnReply, command: tuple[str, ...], reply: Any
    ) -> None:
        if isinstance(reply, hiredis.ReplyError) and is_full(reply):
            self._full, self._by_hash = link, False
            self._run(link, on_reply, command)
        else:
            on_reply(reply)

    def _run(self, link: Link, on_reply: OnReply, command: tuple[str, ...]) -> None:
        name, key, *arguments = command
        if self._by_hash:
            on_reply = partial(self._on_script_reply, link, on_reply, command)
            link.send(on_reply, "EVALSHA", WRITE.sha, "1", key, name, *arguments)
        else:
            on_reply = partial(self._on_function_reply, link, on_reply, command)
            link.send(on_reply, "FCALL", WRITE.name, "1", key, name, *arguments)

    def _on_function_reply(
        self, link: Link, on_reply: OnReply, command: tuple[str, ...], reply: Any
    ) -> None:
        if WRITE.is_missing(reply):
            self._by_hash = True
            self._run(link, on_reply, command)
        else:
            on_reply(reply)

    def _on_script_reply(
        self, link: Link, on_reply: OnReply, command: tuple[str, ...], reply: Any
    ) -> None:
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            link.send(lambda _sha: None, "SCRIPT", "LOAD", WRITE.text)
            name, key, *arguments = command
            link.send(on_reply, "EVALSHA", WRITE.sha, "1", key, name, *arguments)
        else:
            on_reply(reply)
