"""StoredKeys: reads and changes key records, for administration."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final, cast

import redis.asyncio
from redis import exceptions

from authz.core.changes import KeyChange
from authz.core.errors import (
    BadSeal,
    Conflict,
    Fault,
    Foreign,
    OutcomeUnknown,
    Unavailable,
    Unreadable,
)
from authz.core.records import KeyRecord
from authz.storage import emptiness, encoding, meta, schema, stored_records
from authz.storage.change_script import (
    APPLY_CHANGE,
    SEALED_AHEAD,
    TOO_FAST,
    IsCompact,
    Moved,
    Numbers,
    script_input,
    script_outcome,
)
from authz.storage.essential import ALLOW_OOM, RUN, is_full
from authz.storage.hello import refuse_mode, refuse_old
from authz.storage.marks import marks_of
from authz.storage.replies import checked, describe_full, last_change, refused_change
from authz.storage.seals import seals_of

WAIT_MS: Final = 1000
ADVICE: Final = "check redis.url and that the store runs"


class StoredKeys:
    """A KeyStore over redis-py. It never repeats a command by itself.

    has_replicas: the store is behind Sentinel, so `replicas` waits until a replica has the change.
    script: text of the script, with the interface of lua/apply_change.lua.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        has_replicas: bool = False,
        script: str = APPLY_CHANGE,
    ) -> None:
        self._client = client
        self._marks = marks_of(client)
        self._seals = seals_of(client)
        self._names = schema.names_of(client)
        self._has_replicas = has_replicas
        self._apply = client.register_script(script)
        self._apply_when_full = client.register_script(ALLOW_OOM + script)
        self.may_have_moved = True  # False once `verify` found that no key is moved

    async def verify(self, fingerprints: Mapping[str, str], prefixes: Collection[str] = ()) -> None:
        """Raise unless the store is reachable and ours. fingerprints: of our peppers, by version.

        Raises Unavailable if it cannot be reached; Emptied without authz:meta, with the last change
        that a sidecar has seen; Foreign for another schema or other peppers, or if keys have a
        prefix that is not among `prefixes` (not checked if `prefixes` is empty). If authz:meta has
        the mark of a sealed store, `find` refuses records without a seal from now on.
        """
        found = await self._hash(self._names.meta)
        if not found:
            raise meta.Emptied(await self.highest_seen())
        meta.verify(found, fingerprints, self._names)
        _refuse_unlisted(found, prefixes)
        self.may_have_moved = meta.has_moved(found)
        if self._seals is not None:
            self._seals.note(found)

    async def initialise(
        self,
        fingerprints: Mapping[str, str],
        prefixes: Collection[str] = (),
        public_prefix: str = "",
        *,
        is_compact: bool = False,
    ) -> bool:
        """Write authz:meta, or add peppers and prefixes to it. Return False if nothing was missing.

        prefixes: of secret keys. public_prefix: of publishable ones, or empty. A new store is
        marked as sealed if this client makes seals, and gets compact records if `is_compact`.
        Raises Foreign as `verify`, Conflict if the store has data without authz:meta, Unavailable
        if it cannot be used or the server is too old.
        """
        ask: Callable[..., Awaitable[Any]] = self._client.execute_command
        hello = await checked(ask("HELLO"), ADVICE)
        hello = hello if isinstance(hello, dict) else {}
        refuse_old(hello)
        refuse_mode(hello, self._names)
        wanted = meta.entries(fingerprints, prefixes, public_prefix, self._names)

        async def complete(transaction: Any) -> bool:
            found = await transaction.hgetall(self._names.meta)
            if found:
                meta.verify(found, fingerprints, self._names)
                _refuse_unlisted(found, (*prefixes, *filter(None, [public_prefix])))
            elif problem := await emptiness.remains(transaction, self._names):
                raise Conflict(problem)
            wanted[schema.META_SCHEMA] = meta.schema_of(found)
            missing = not wanted.items() <= found.items()
            mark = {} if found or self._seals is None else {schema.META_SEALED: "1"}
            if is_compact and not found:
                mark |= {schema.META_COMPACT: schema.ALL_COMPACT}
            if self._seals is not None:
                self._seals.note(found | mark)
            if missing:
                transaction.multi()
                transaction.hset(self._names.meta, mapping=wanted | mark)
            return missing

        # WATCH and MULTI: repeated if another process, such as a restore, wrote after the read.
        names = emptiness.watched(self._names)
        transaction = self._client.transaction(complete, *names, value_from_callable=True)
        return bool(await checked(transaction, ADVICE))

    async def retire_prefix(self, prefix: str) -> bool:
        """Remove the note in authz:meta that keys have this prefix. Return False if there was none.

        The keys stay. Raises Unavailable.
        """
        starts = (schema.META_PREFIX, schema.META_PUBLIC)
        removed = self._client.hdel(self._names.meta, *(f"{start}{prefix}" for start in starts))
        return bool(await checked(removed, ADVICE))

    async def remains(self) -> str:
        """Describe the data of a store without authz:meta, with the remedy.

        Returns "" if the store is empty or has authz:meta. Raises Unavailable.
        """
        return await emptiness.remains(self._client, self._names)

    async def peppers(self) -> dict[str, str]:
        """Return the store's pepper fingerprints by version; empty without authz:meta.

        Raises Unavailable, also if the store has another number of partitions.
        """
        if found := await self._hash(self._names.meta):
            meta.refuse_partitions(found, self._names)
        return meta.peppers_of(found)

    async def sequence(self) -> int:
        """Return the number of the store's last change, or 0.

        Raises Unavailable, also if it is garbled.
        """
        return await last_change(self._client, ADVICE)

    async def highest_seen(self) -> int:
        """Return the highest change that a registered sidecar has seen, or 0.

        Raises Unavailable.
        """
        from authz.storage.registry import highest_seen  # noqa: PLC0415  for an emptied store

        return await highest_seen(self._client)

    async def has_imports(self) -> bool:
        """Return whether keys may have been imported into the store. Raises Unavailable."""
        return meta.has_imports(await self._hash(self._names.meta))

    async def index_imports(self) -> int | None:
        """Make the index of imported digests if it may lack some. Return its entries, else None.

        Raises Unavailable.
        """
        from authz.storage.indexing import Indexing  # noqa: PLC0415  for a store with imports

        indexing = Indexing(self._client)
        return await indexing.run() if await indexing.is_needed() else None

    async def load_functions(self) -> str:
        """Load the functions that the store lacks. Return why it refused one, or "".

        Raises Unavailable.
        """
        from authz.storage import functions  # noqa: PLC0415  few commands load them

        return await functions.load(self._client)

    async def find(self, kid: str) -> KeyRecord | None:
        """Return the record, or None if the key does not exist.

        Raises Unavailable if the store cannot be used, BadSeal or Unreadable if the record may not
        be used or cannot be decoded.
        """
        (stored,) = await stored_records.read(self._client, [kid])
        stored_records.refuse_errors([stored])
        found = stored_records.fields_of(kid, stored)
        try:
            if found and self._seals is not None:
                self._seals.check(kid, found)
        except BadSeal as cause:
            with suppress(Unreadable):
                record = encoding.decode(kid, found, keeps_unknown=True)
                # The script would count on from a version above the number of the last change.
                cause.record = record if record.version <= await self.sequence() else None
            raise
        return encoding.decode(kid, found, keeps_unknown=True) if found else None

    async def apply(self, change: KeyChange) -> int:
        """Apply a change by the script and return the key's new version.

        A change that was applied before is not made again, and returns its version. Raises Conflict
        if the key is not at `base_version`, AliasTaken if an alias is another key's, Deleted if the
        key was deleted, Unavailable if nothing was changed, OutcomeUnknown if the connection failed
        after the script was sent. A change that narrows rights is applied also to a full store.
        """
        # A failure after this leaves it unknown.
        last, form = await stored_records.last_change_and_form(self._client, ADVICE)
        is_compact = form is not meta.Form.HASHES
        for count in SEALED_AHEAD:
            outcome = await self._try(change, last, count, is_compact=is_compact)
            if isinstance(outcome, Moved):
                last = outcome.last
            elif isinstance(outcome, IsCompact):
                is_compact = True
            else:
                break
        if isinstance(outcome, Moved | IsCompact):
            raise Unavailable(TOO_FAST)
        if isinstance(outcome, Fault):
            raise outcome
        return outcome

    async def _try(
        self, change: KeyChange, last: int, count: int, *, is_compact: bool
    ) -> int | Fault:
        """Apply a change if it becomes one of the `count` changes after `last`.

        is_compact: the form in which its record is written. Return its version or the fault why it
        was not applied. Raises Unavailable, OutcomeUnknown.
        """
        numbers = None if self._seals is None else Numbers(self._seals.records, last + 1, count)
        keys, args = script_input(change, self._names, self._marks, numbers, is_compact=is_compact)
        apply = self._apply_when_full if change.narrows else self._apply
        try:
            reply = await apply(keys=keys, args=args)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as cause:
            raise OutcomeUnknown(f"the store did not confirm the change: {cause}") from None
        except exceptions.RedisError as cause:
            if is_full(cause):
                raise Unavailable(await describe_full(self._client)) from None
            raise refused_change(cause) from None
        return script_outcome(change, reply)

    async def replicas(self, change: KeyChange, version: int) -> int | None:
        """Wait up to WAIT_MS (1 s) for one replica. Return how many have the change.

        None without Sentinel. 0 also if the store refused to answer. Writes the heartbeat. Raises
        OutcomeUnknown if the connection fails, or if a failover has lost the change.
        """
        if not self._has_replicas:
            return None
        name = f"{version}-0"
        pipeline = self._client.pipeline(transaction=False)  # WAIT is about its own connection
        pipeline.xrange(self._names.log, name, name)
        pipeline.set(self._names.heartbeat, change.id)
        pipeline.wait(1, WAIT_MS)
        try:
            found, written, count = await pipeline.execute(raise_on_error=False)
        except (exceptions.RedisError, OSError) as cause:
            raise OutcomeUnknown(f"the store did not confirm the change: {cause}") from None
        if isinstance(found, list) and change.id not in [e.get("change_id") for _, e in found]:
            raise OutcomeUnknown("a failover has lost the change")
        if is_full(written):
            return await self._replicas_when_full(change)
        answers = (found, written, count)
        return 0 if any(isinstance(answer, Exception) for answer in answers) else int(count)

    async def _replicas_when_full(self, change: KeyChange) -> int:
        run = self._client.register_script(RUN)
        async with self._client.client() as connection:  # WAIT is about its own connection
            try:
                await run(keys=[self._names.heartbeat], args=["SET", change.id], client=connection)
                return int(await connection.wait(1, WAIT_MS))
            except (exceptions.RedisError, OSError):
                return 0

    async def _hash(self, name: str) -> dict[str, str]:
        return cast("dict[str, str]", await checked(self._client.hgetall(name), ADVICE))


def _refuse_unlisted(found: Mapping[str, str], prefixes: Collection[str]) -> None:
    if problem := meta.unlisted_prefixes(found, prefixes):
        raise Foreign(problem)
