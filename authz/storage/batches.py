"""StoredBatches: applies many changes in one round trip."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.changes import KeyChange
from authz.core.errors import Fault, OutcomeUnknown, Unavailable
from authz.storage import schema
from authz.storage.change_script import APPLY_CHANGE, script_input, script_outcome
from authz.storage.essential import ALLOW_OOM, is_full
from authz.storage.link import refusal
from authz.storage.marks import marks_of
from authz.storage.replies import checked, describe_full

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
_SCRIPTS: Final = {False: APPLY_CHANGES, True: ALLOW_OOM + APPLY_CHANGES}  # by KeyChange.narrows


class StoredBatches:
    """A BatchStore over redis-py. A batch takes one round trip, besides loading the scripts.

    A call of a script applies at most CHANGES_AT_ONCE (20) changes, so that it blocks the store
    only for a moment.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._marks = marks_of(client)
        self._scripts: dict[bool, str] = {}

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Return each change's version, or the Fault why it was not applied, in order.

        A change that narrows rights is applied also to a full store. Raises Unavailable if no
        change was made, OutcomeUnknown if the store failed after some may have been.
        """
        await self._load_scripts(changes)  # a failure after this leaves the outcome unknown
        outcomes = await self._send(changes)
        unsent = [index for index, found in enumerate(outcomes) if found is None]
        if unsent:  # the store lost the script; it reports that before it applies anything
            self._scripts.clear()
            try:
                await self._load_scripts(changes)
            except Unavailable as cause:
                if len(unsent) == len(changes):
                    raise
                raise OutcomeUnknown(f"the store did not get all changes: {cause}") from None
            again = await self._send([changes[index] for index in unsent])
            for index, outcome in zip(unsent, again, strict=True):
                outcomes[index] = outcome
        return [
            Unavailable("the store lost the script again") if o is None else o for o in outcomes
        ]

    async def _load_scripts(self, changes: Sequence[KeyChange]) -> None:
        for narrows in {change.narrows for change in changes} - self._scripts.keys():
            self._scripts[narrows] = await checked(self._client.script_load(_SCRIPTS[narrows]))

    async def _send(self, changes: Sequence[KeyChange]) -> list[int | Fault | None]:
        """Return each change's version or Fault; None where the store does not have the script.

        Raises OutcomeUnknown if the connection fails or times out.
        """
        pipe = self._client.pipeline(transaction=False)
        groups = list(_groups(changes))
        for group in groups:
            all_keys: list[str] = []
            all_args: list[str] = []
            for change in group:
                keys, args = script_input(change, self._names, self._marks)
                all_keys += keys
                all_args.append(json.dumps([len(keys), *map(str, args)]))
            script = self._scripts[group[0].narrows]
            pipe.evalsha(script, len(all_keys), *all_keys, *all_args)
        try:
            grouped = await pipe.execute(raise_on_error=False)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as cause:
            self._scripts.clear()  # the next call first finds out whether there is a store
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


def _groups(changes: Sequence[KeyChange]) -> Iterator[list[KeyChange]]:
    """Yield the changes in order, in groups for one call of a script."""
    for _, same in groupby(changes, attrgetter("narrows")):
        group = list(same)
        for at in range(0, len(group), CHANGES_AT_ONCE):
            yield group[at : at + CHANGES_AT_ONCE]
