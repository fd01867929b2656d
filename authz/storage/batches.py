"""StoredBatches: applies many changes in one round trip."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.changes import KeyChange
from authz.core.errors import Fault, Frozen, OutcomeUnknown, Unavailable
from authz.storage import meta, schema
from authz.storage.change_script import (
    APPLY_ONE,
    SEALED_AHEAD,
    STEPS,
    TOO_FAST,
    IsCompact,
    Moved,
    Numbers,
    script_input,
    script_outcome,
)
from authz.storage.essential import ALLOW_OOM, is_full
from authz.storage.marks import marks_of
from authz.storage.replies import checked, describe_full, refused_change
from authz.storage.seals import seals_of
from authz.storage.stored_records import last_change_and_form
from authz.storage.streamed import streamed

# For how many numbers each record is sealed, at each try. The second try has one seal again: at the
# first, the number of the last change may be an older one, and a refused change takes no number.
TRIES: Final = (1, *SEALED_AHEAD)
CHANGES_AT_ONCE: Final = 20  # of one script call, which takes the server about 1 ms
# Not as escapes: cjson refuses those of bytes that are no text.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False)
FRESH: Final = 1.0  # seconds for which the number of our last change is taken for the store's last
# Applies several changes by the script for one. ARGV: for each change a JSON array with the number
# of its KEYS and then its ARGV; redis-py takes ten times as long for separate arguments. An error
# of one change is its reply and stops no other.
APPLY_CHANGES: Final = f"""{STEPS}
local all_keys, all_args, key_at, replies = KEYS, ARGV, 0, {{}}
local function apply(KEYS, ARGV)
{APPLY_ONE}
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

    The store works on the first changes of a batch while the later ones are made.

    It takes another one if others change keys at the same moment, if the store refuses a change,
    and if the batch has a key twice.

    A call of a script applies at most CHANGES_AT_ONCE (20) changes, so that it blocks the store
    only for a moment.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._marks = marks_of(client)
        self._seals = seals_of(client)
        self._scripts: dict[bool, str] = {}
        self._is_compact = False  # whether records are written in the compact form
        self._last, self._last_at = 0, -FRESH  # of our last change, and when it was (loop.time)

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Return each change's version, or the Fault why it was not applied, in order.

        A change that narrows rights is applied also to a full store. Raises Unavailable if no
        change was made, OutcomeUnknown if the store failed after some may have been.
        """
        found: list[int | Fault] = []
        for run in _runs(changes):
            try:
                found += await self._apply(run)
            except OutcomeUnknown:
                raise
            except Frozen as cause:
                if not found:
                    raise
                found += [cause] * len(run)
            except Unavailable as cause:
                if not found:
                    raise
                raise _partly(cause) from None
        return found

    async def _apply(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Apply changes of different keys, as `apply_all` does.

        If others change keys meanwhile, a change may be applied before one that stands before it.
        """
        last = await self._last_number()
        await self._load_scripts(changes)  # a failure after this leaves the outcome unknown
        outcomes: list[int | Fault | None] = [None] * len(changes)
        unsent, is_lost = list(range(len(changes))), False
        for count in TRIES:
            found = await self._send([changes[index] for index in unsent], last, count)
            for index, outcome in zip(unsent, found, strict=True):
                outcomes[index] = outcome
                self._is_compact = self._is_compact or isinstance(outcome, IsCompact)
            unsent = [index for index in unsent if _is_unsent(outcomes[index])]
            last = _number_after(found, last)
            if not unsent:
                self._last, self._last_at = last, asyncio.get_running_loop().time()
                break
            if None in found:  # the store lost the script; it reports that before it applies any
                if is_lost:
                    break
                is_lost = True
                self._scripts.clear()
                await self._load_again(changes, is_partly_done=len(unsent) < len(changes))
        return [_final(outcome) for outcome in outcomes]

    async def _last_number(self) -> int:
        """Return the number of the store's last change, as far as we know it. Note the form.

        A batch that soon follows another one asks no question. So an import writes a batch to the
        connection at once, and reads its next lines while the store works. If others were faster,
        the script says so. Each batch asks for the form that the next one writes.
        """
        last, at = self._last, self._last_at
        self._last_at = -FRESH  # until this batch has succeeded
        if asyncio.get_running_loop().time() - at < FRESH:
            return last
        last, form = await last_change_and_form(self._client)
        self._is_compact = form is not meta.Form.HASHES
        return last

    async def _load_again(self, changes: Sequence[KeyChange], *, is_partly_done: bool) -> None:
        """Load the scripts. Raises OutcomeUnknown in place of Unavailable if some may be made."""
        try:
            await self._load_scripts(changes)
        except Unavailable as cause:
            if not is_partly_done:
                raise
            raise _partly(cause) from None

    async def _load_scripts(self, changes: Sequence[KeyChange]) -> None:
        for narrows in {change.narrows for change in changes} - self._scripts.keys():
            self._scripts[narrows] = await checked(self._client.script_load(_SCRIPTS[narrows]))

    async def _send(
        self, changes: Sequence[KeyChange], last: int, count: int
    ) -> list[int | Fault | None]:
        """Return each change's version or Fault; None where the store does not have the script.

        last: number of the last change of the store. count: for how many numbers a record is
        sealed. Raises OutcomeUnknown if the connection fails or times out.
        """
        groups = list(_groups(changes))
        ask = ("HGETALL", self._names.meta)
        try:
            calls = chain(self._calls(groups, last, count), [ask])
            *grouped, found = await streamed(self._client, calls)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as cause:
            self._scripts.clear()  # the next call first finds out whether there is a store
            raise OutcomeUnknown(f"the store did not confirm the changes: {cause}") from None
        if isinstance(found, dict):
            self._is_compact = meta.form_of(found.get(schema.META_COMPACT)) is not meta.Form.HASHES
        replies = [
            reply
            for group, one in zip(groups, grouped, strict=True)
            for reply in (one if isinstance(one, list) else [one] * len(group))
        ]
        full = await describe_full(self._client) if any(map(is_full, replies)) else ""
        return [
            Unavailable(full) if is_full(reply) else _outcome(change, reply)
            for change, reply in zip(changes, replies, strict=True)
        ]

    def _calls(
        self, groups: Iterable[Sequence[KeyChange]], last: int, count: int
    ) -> Iterator[list[str | int]]:
        """Yield the call of a script for each group. The changes follow the number `last`."""
        first = last
        for group in groups:
            all_keys: list[str] = []
            all_args: list[str] = []
            for change in group:
                first += 1
                seals = self._seals
                numbers = None if seals is None else Numbers(seals.records, first, count)
                keys, args = script_input(
                    change, self._names, self._marks, numbers, is_compact=self._is_compact
                )
                all_keys += keys
                all_args.append(_ENCODER.encode([len(keys), *map(str, args)]))
            script = self._scripts[group[0].narrows]
            yield ["EVALSHA", script, len(all_keys), *all_keys, *all_args]


def _partly(cause: Unavailable) -> OutcomeUnknown:
    return OutcomeUnknown(f"the store did not get all changes: {cause}")


def _is_unsent(outcome: int | Fault | None) -> bool:
    return outcome is None or isinstance(outcome, Moved | IsCompact)


def _number_after(outcomes: Sequence[int | Fault | None], before: int) -> int:
    """Return the number of the store's last change after these outcomes.

    before: the number as it was known before. It is too high if the store has gone back; a Moved
    shows that. A version alone does not: the change may have been made earlier.
    """
    made = [outcome for outcome in outcomes if isinstance(outcome, int)]
    moved = [outcome.last for outcome in outcomes if isinstance(outcome, Moved)]
    return max(made + (moved or [before]))


def _final(outcome: int | Fault | None) -> int | Fault:
    if outcome is None:
        return Unavailable("the store lost the script again")
    return Unavailable(TOO_FAST) if isinstance(outcome, Moved | IsCompact) else outcome


def _outcome(change: KeyChange, reply: Any) -> int | Fault | None:
    if isinstance(reply, exceptions.NoScriptError):
        return None
    if isinstance(reply, Exception):
        return refused_change(reply)
    return script_outcome(change, reply)


def _runs(changes: Sequence[KeyChange]) -> Iterator[list[KeyChange]]:
    """Yield the changes in order, in runs that have no key twice, by its kid or an alias."""
    run: list[KeyChange] = []
    names: set[str | bytes] = set()
    for change in changes:
        own: set[str | bytes] = {change.record.kid, *change.aliases}
        if not names.isdisjoint(own):
            yield run
            run, names = [], set()
        run.append(change)
        names |= own
    if run:
        yield run


def _groups(changes: Sequence[KeyChange]) -> Iterator[list[KeyChange]]:
    """Yield the changes in order, in groups for one call of a script."""
    for _, same in groupby(changes, attrgetter("narrows")):
        group = list(same)
        for at in range(0, len(group), CHANGES_AT_ONCE):
            yield group[at : at + CHANGES_AT_ONCE]
