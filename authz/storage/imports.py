"""Imported keys: `LinkedAliases` finds them for the sidecar, `StoredImports` writes them."""

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.changes import KeyChange
from authz.core.errors import Fault, OutcomeUnknown, Unavailable
from authz.core.keys.credentials import Alias
from authz.core.keys.text import KID_PATTERN
from authz.core.ports import LoadedAlias
from authz.storage import meta, schema
from authz.storage.essential import is_full
from authz.storage.feed import ChangeFeed
from authz.storage.keys import APPLY_CHANGE, script_input, script_outcome
from authz.storage.link import Link, refusal
from authz.storage.replies import checked, describe_full

Deliver = Callable[[LoadedAlias], None]

CHANGES_AT_ONCE: Final = 20  # of one script call, which takes the server about 1 ms
# Applies several changes by the script for one. ARGV: for each change a JSON array with the number
# of its KEYS and then its ARGV; redis-py takes ten times as long for separate arguments. An error
# of one change is its reply and stops no other.
APPLY_CHANGES: Final = f"""
local all_keys, all_args, key_at, replies = KEYS, ARGV, 0, {{}}
local function apply(KEYS, ARGV)
{APPLY_CHANGE}
end
for i, text in ipairs(all_args) do
  local args, keys = cjson.decode(text), {{}}
  local key_count = table.remove(args, 1)
  for j = 1, key_count do
    keys[j] = all_keys[key_at + j]
  end
  local done, reply = pcall(apply, keys, args)
  if not done and type(reply) ~= 'table' then
    reply = redis.error_reply('ERR ' .. tostring(reply))
  end
  replies[i] = reply
  key_at = key_at + key_count
end
return replies
"""


class LinkedAliases:
    """An AliasSource that reads the aliases of imported keys over the link of the change feed."""

    def __init__(self, feed: ChangeFeed) -> None:
        self._feed = feed
        self._names = feed.names

    def has_imports(self) -> bool | None:
        """Return whether keys were ever imported; None while that is unknown.

        True once an import was seen, also without trust. False only while the store is trusted.
        """
        return self._feed.meta.has_imports()

    def resolve(self, digests: Sequence[bytes], deliver: Deliver) -> None:
        """Request the alias of any of these digests and return at once.

        `deliver` is called once, later. It gets the Alias of the first digest that has one, or None
        if there is none and authz:meta exists. Otherwise it gets a Fault: Emptied without
        authz:meta, Unavailable without a link or for an unexpected reply. None costs a second round
        trip.
        """
        self._request(digests, deliver, last=False)

    def _request(self, digests: Sequence[bytes], deliver: Deliver, *, last: bool) -> None:
        link = self._feed.link
        if link is None:
            asyncio.get_running_loop().call_soon(deliver, Unavailable("not connected"))
            return
        names = map(self._names.alias, digests)
        link.send(partial(self._on_kids, link, digests, deliver, last), "MGET", *names)

    def _on_kids(
        self, link: Link, digests: Sequence[bytes], deliver: Deliver, last: bool, reply: Any
    ) -> None:
        if not isinstance(reply, list):
            deliver(_unexpected(reply))
            return
        for digest, kid in zip(digests, reply, strict=True):
            if kid is not None:
                deliver(_alias(digest, kid))
                return
        # As for a record: the key is absent, or the store is empty. EXISTS counts a repeated name
        # each time. authz:meta is named once more often than there are aliases, so the count shows
        # whether authz:meta exists and whether an alias does.
        proof = [self._names.meta] * (len(digests) + 1)
        names = map(self._names.alias, digests)
        link.send(partial(self._on_presence, digests, deliver, last), "EXISTS", *proof, *names)

    def _on_presence(
        self, digests: Sequence[bytes], deliver: Deliver, last: bool, reply: Any
    ) -> None:
        if not isinstance(reply, int):
            deliver(_unexpected(reply))
        elif reply <= len(digests):
            deliver(meta.Emptied(self._feed.highest))
        elif reply == len(digests) + 1:
            deliver(None)
        elif last:
            deliver(Unavailable("an alias exists but cannot be read"))
        else:  # the key was imported between MGET and EXISTS
            self._request(digests, deliver, last=True)


class StoredImports:
    """An ImportStore over redis-py. A batch takes one round trip, besides loading the script.

    The script applies CHANGES_AT_ONCE (20) changes in one call.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._script = ""

    async def allow_imports(self) -> None:
        """Set the imports field of `authz:meta`, so that sidecars look up aliases.

        Raises Unavailable.
        """
        await checked(self._client.hset(self._names.meta, schema.META_IMPORTS, "1"))

    async def resolve_all(self, digests: Sequence[Sequence[bytes]]) -> list[str | None]:
        """Return, for each key, the kid of the first of its digests that is known, or None.

        Takes one round trip. Raises Unavailable if the store cannot be used.
        """
        pipe = self._client.pipeline(transaction=False)
        for known in digests:
            pipe.mget(list(map(self._names.alias, known)))
        found = await checked(pipe.execute())
        return [next(filter(None, kids), None) for kids in found]

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Return each change's version, or the Fault why it was not applied, in order.

        Raises Unavailable if nothing was sent, OutcomeUnknown if the connection failed after that.
        """
        if not self._script:
            await self._load_script()  # a failure after this leaves the outcome unknown
        outcomes = await self._send(changes)
        unsent = [index for index, found in enumerate(outcomes) if found is None]
        if unsent:  # the store lost the script; it reports that before it applies anything
            await self._load_script()
            again = await self._send([changes[index] for index in unsent])
            for index, outcome in zip(unsent, again, strict=True):
                outcomes[index] = outcome
        return [
            Unavailable("the store lost the script again") if o is None else o for o in outcomes
        ]

    async def _load_script(self) -> None:
        self._script = await checked(self._client.script_load(APPLY_CHANGES))

    async def _send(self, changes: Sequence[KeyChange]) -> list[int | Fault | None]:
        """Return each change's version or Fault; None where the store does not have the script.

        Raises OutcomeUnknown if the connection fails or times out.
        """
        pipe = self._client.pipeline(transaction=False)
        groups = [
            changes[at : at + CHANGES_AT_ONCE] for at in range(0, len(changes), CHANGES_AT_ONCE)
        ]
        for group in groups:
            all_keys: list[str] = []
            all_args: list[str] = []
            for change in group:
                keys, args = script_input(change, self._names)
                all_keys += keys
                all_args.append(json.dumps([len(keys), *map(str, args)]))
            pipe.evalsha(self._script, len(all_keys), *all_keys, *all_args)
        try:
            grouped = await pipe.execute(raise_on_error=False)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as cause:
            self._script = ""  # the next call first finds out whether there is a store
            raise OutcomeUnknown(f"the store did not confirm the changes: {cause}") from None
        replies = [
            reply
            for group, found in zip(groups, grouped, strict=True)
            for reply in (found if isinstance(found, list) else [found] * len(group))
        ]
        full = await describe_full(self._client) if any(map(is_full, replies)) else ""
        return [
            Unavailable(full) if is_full(reply) else _outcome(change, reply)
            for change, reply in zip(changes, replies, strict=True)
        ]


def _outcome(change: KeyChange, reply: Any) -> int | Fault | None:
    if isinstance(reply, exceptions.NoScriptError):
        return None
    if isinstance(reply, Exception):
        return Unavailable(f"the store refused the change: {refusal(reply)}")
    return script_outcome(change, reply)


def _alias(digest: bytes, kid: Any) -> Alias | Fault:
    if isinstance(kid, str) and KID_PATTERN.fullmatch(kid):
        return Alias(kid, digest)
    return Unavailable("an alias does not hold a kid")


def _unexpected(reply: Any) -> Fault:
    if isinstance(reply, Fault):
        return reply
    return Unavailable(f"the store answered {str(reply)[:100]}")
