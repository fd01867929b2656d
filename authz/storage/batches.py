"""StoredBatches: applies many changes in one round trip."""

from collections.abc import Sequence
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.changes import KeyChange
from authz.core.errors import Fault, OutcomeUnknown, Unavailable
from authz.storage import schema
from authz.storage.essential import ALLOW_OOM, is_full
from authz.storage.keys import APPLY_CHANGE, script_input, script_outcome
from authz.storage.link import refusal
from authz.storage.marks import marks_of
from authz.storage.replies import checked, describe_full

_SCRIPTS: Final = {False: APPLY_CHANGE, True: ALLOW_OOM + APPLY_CHANGE}  # by KeyChange.narrows


class StoredBatches:
    """A BatchStore over redis-py. A batch takes one round trip, besides loading the scripts."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._marks = marks_of(client)
        self._scripts: dict[bool, str] = {}

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Return each change's version, or the Fault why it was not applied, in order.

        A change that narrows rights is applied also to a full store. Raises Unavailable if nothing
        was sent, OutcomeUnknown if the connection failed after that.
        """
        await self._load_scripts(changes)  # a failure after this leaves the outcome unknown
        outcomes = await self._send(changes)
        unsent = [index for index, found in enumerate(outcomes) if found is None]
        if unsent:  # the store lost the script; it reports that before it applies anything
            await self._load_scripts(changes)
            again = await self._send([changes[index] for index in unsent])
            for index, outcome in zip(unsent, again, strict=True):
                outcomes[index] = outcome
        return [
            Unavailable("the store lost the script again") if o is None else o for o in outcomes
        ]

    async def _load_scripts(self, changes: Sequence[KeyChange]) -> None:
        for narrows in {change.narrows for change in changes}:
            self._scripts[narrows] = await checked(self._client.script_load(_SCRIPTS[narrows]))

    async def _send(self, changes: Sequence[KeyChange]) -> list[int | Fault | None]:
        """Return each change's version or Fault; None where the store does not have the script.

        Raises OutcomeUnknown if the connection fails or times out.
        """
        pipe = self._client.pipeline(transaction=False)
        for change in changes:
            keys, args = script_input(change, self._names, self._marks)
            pipe.evalsha(self._scripts[change.narrows], len(keys), *keys, *args)
        try:
            replies = await pipe.execute(raise_on_error=False)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as cause:
            raise OutcomeUnknown(f"the store did not confirm the changes: {cause}") from None
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
