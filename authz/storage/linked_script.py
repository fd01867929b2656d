"""Scripts that are called on a link: as a function of the store, or by their hash.

A function has a library of its own. Its name ends with the hash of its text. So functions of
several versions exist side by side, and no call reaches a function of another version.
"""

import hashlib
from typing import Any, Final

import hiredis

from authz.core.errors import Unavailable
from authz.storage.link import Link
from authz.storage.refusals import refusal

READY: Final = "ready"  # the reply of a function that is called without keys
ABSENT: Final = ("Function not found", "unknown command", "o permissions ")
LACKING: Final = (
    "it lacks a function of this version, and our user may load no script; run `authz init`"
)


class StoreFunction:
    """A script, and the same as a function of the store. text: of the script. flags: as in Lua."""

    def __init__(self, name: str, text: str, *flags: str) -> None:
        shebang = f"#!lua flags={','.join(flags)}\n" if flags else ""
        self.text = shebang + text
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        self.name = f"authz_{name}_{self.sha[:12]}"
        listed = ", ".join(f"'{flag}'" for flag in flags)
        self.library = (
            f"#!lua name={self.name}\n"
            f"redis.register_function{{function_name='{self.name}', flags={{{listed}}},\n"
            "callback=function(KEYS, ARGV)\n"
            f"if #KEYS == 0 then return '{READY}' end\n"
            f"{text}\nend}}\n"
        )

    def is_missing(self, reply: Any) -> bool:
        """Return whether the store has no such function, or does not let our user call it.

        Then it ran nothing.
        """
        return isinstance(reply, Exception) and any(word in str(reply) for word in ABSENT)


class LinkedScript:
    """Calls one script on a link. It begins as a function, if the store has it."""

    def __init__(self, function: StoreFunction) -> None:
        self._function = function
        self._by_hash = False

    @property
    def call(self) -> tuple[str, str]:
        """The command and its first argument, which stand before the number of keys."""
        function = self._function
        return ("EVALSHA", function.sha) if self._by_hash else ("FCALL", function.name)

    async def prepare(self, link: Link) -> None:
        """Find out whether the store has the function, else load the script.

        Raises Unavailable if it has neither, with the remedy.
        """
        self._by_hash = False
        try:
            await link.call("FCALL", self._function.name, "0", READY)
        except Unavailable as cause:
            if not link.is_open:
                raise
            if self._function.is_missing(cause):
                await self._load(link)

    async def _load(self, link: Link) -> None:
        self._by_hash = True
        try:
            await link.call("SCRIPT", "LOAD", self._function.text)
        except Unavailable as cause:
            if "o permissions " not in str(cause) and "NOPERM" not in str(cause):
                raise
            raise Unavailable(LACKING) from None

    def explained(self, reply: Exception) -> str:
        """Return the refusal of a call as text for an operator."""
        if self._by_hash and "o permissions " in str(reply):  # it lost the function meanwhile
            return LACKING
        return refusal(reply)

    def load_again(self, link: Link, reply: Any) -> bool:
        """Return whether `reply` says that nothing ran, for the store lost function or script.

        Then the script is being loaded, and the next call is by its hash.
        """
        if not isinstance(reply, hiredis.ReplyError):
            return False
        if not str(reply).startswith("NOSCRIPT") and "Function not found" not in str(reply):
            return False
        self._by_hash = True
        link.send(lambda _sha: None, "SCRIPT", "LOAD", self._function.text)
        return True
