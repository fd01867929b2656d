"""Key records: `LinkedKeys` reads them for the sidecar, `StoredKeys` reads and changes them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from importlib.resources import files
from typing import Any, Final, cast

import redis.asyncio
from redis import exceptions

from authz.core.changes import KeyChange
from authz.core.errors import (
    AliasTaken,
    Conflict,
    Deleted,
    Fault,
    Foreign,
    OutcomeUnknown,
    Unavailable,
    Unreadable,
)
from authz.core.events import Event
from authz.core.ports import Loaded, Probe
from authz.core.records import KeyRecord
from authz.storage import emptiness, encoding, meta, schema, tombstones
from authz.storage.endpoint import refuse_old
from authz.storage.essential import ALLOW_OOM, RUN, is_full
from authz.storage.feed import ChangeFeed
from authz.storage.link import Link, refusal
from authz.storage.marks import Marks, marks_of, with_mark
from authz.storage.registry import highest_seen
from authz.storage.replies import checked, describe_full

log = logging.getLogger("authz.store")

WAIT_MS: Final = 1000
ADVICE: Final = "check redis.url and that the store runs"
APPLY_CHANGE: Final = (files("authz.storage") / "lua" / "apply_change.lua").read_text()


class LinkedKeys:
    """A KeySource on the feed's link, so that records and changes arrive in the store's order."""

    def __init__(self, feed: ChangeFeed, probe: Probe) -> None:
        self._feed = feed
        self._names = feed.names
        self._probe = probe

    def load(self, kid: str, deliver: Callable[[Loaded], None]) -> None:
        """Request a record by one HGETALL and return at once. `deliver` is called once, later.

        It gets the record, or None if the key does not exist and authz:meta does (one more round
        trip). Otherwise it gets a Fault: Emptied without authz:meta, Unreadable for a bad record
        (counted and logged), Unavailable without a link or for an error reply.
        """
        link = self._feed.link
        if link is None:
            asyncio.get_running_loop().call_soon(deliver, Unavailable("not connected"))
            return
        link.send(partial(self._on_hash, link, kid, deliver), "HGETALL", self._names.key(kid))

    def _on_hash(self, link: Link, kid: str, deliver: Callable[[Loaded], None], reply: Any) -> None:
        if reply != {}:
            deliver(self._read(kid, reply))
            return
        # The key is absent, or the store was emptied: then authz:meta is absent too. One EXISTS
        # checks both at the same moment. It counts a repeated name each time, so the count shows
        # which of the two exist.
        link.send(
            partial(self._on_presence, kid, deliver),
            "EXISTS",
            self._names.meta,
            self._names.meta,
            self._names.key(kid),
        )

    def _on_presence(self, kid: str, deliver: Callable[[Loaded], None], reply: Any) -> None:
        match reply:
            case 2:
                deliver(None)
            case 3:  # the key was issued between HGETALL and EXISTS
                self.load(kid, deliver)
            case 0 | 1:
                deliver(meta.Emptied(self._feed.highest))
            case _:
                deliver(self._read(kid, reply))

    def _read(self, kid: str, reply: Any) -> KeyRecord | Fault:
        if isinstance(reply, Fault):
            return reply
        if not isinstance(reply, dict):
            return Unavailable(f"the store answered {str(reply)[:100]}")
        try:
            record = encoding.decode(kid, reply)
        except Unreadable as cause:
            self._probe.count(Event.RECORD_UNREADABLE)
            log.error("%s", cause)  # noqa: TRY400  the traceback adds nothing
            return cause
        self._feed.record_read(record.version)
        return record


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
        self._names = schema.names_of(client)
        self._has_replicas = has_replicas
        self._apply = client.register_script(script)
        self._apply_when_full = client.register_script(ALLOW_OOM + script)

    async def verify(self, fingerprints: Mapping[str, str], prefixes: Collection[str] = ()) -> None:
        """Raise unless the store is reachable and ours. fingerprints: of our peppers, by version.

        Raises Unavailable if it cannot be reached; Emptied without authz:meta, with the last change
        that a sidecar has seen; Foreign for another schema or other peppers, or if keys have a
        prefix that is not among `prefixes` (not checked if `prefixes` is empty).
        """
        found = await self._hash(self._names.meta)
        if not found:
            raise meta.Emptied(await highest_seen(self._client))
        meta.verify(found, fingerprints)
        _refuse_unlisted(found, prefixes)

    async def initialise(
        self, fingerprints: Mapping[str, str], prefixes: Collection[str] = ()
    ) -> bool:
        """Write authz:meta, or add peppers and prefixes to it. Return False if nothing was missing.

        Raises Foreign as `verify`, Conflict if the store has data without authz:meta, Unavailable
        if it cannot be used or the server is too old.
        """
        ask: Callable[..., Awaitable[Any]] = self._client.execute_command
        hello = await checked(ask("HELLO"), ADVICE)
        refuse_old(hello if isinstance(hello, dict) else {})
        wanted = meta.entries(fingerprints, prefixes)

        async def complete(transaction: Any) -> bool:
            found = await transaction.hgetall(self._names.meta)
            if found:
                meta.verify(found, fingerprints)
                _refuse_unlisted(found, prefixes)
            elif problem := await emptiness.remains(transaction, self._names):
                raise Conflict(problem)
            missing = not wanted.items() <= found.items()
            if missing:
                transaction.multi()
                transaction.hset(self._names.meta, mapping=wanted)
            return missing

        # WATCH and MULTI: repeated if another process, such as a restore, wrote after the read.
        names = emptiness.watched(self._names)
        transaction = self._client.transaction(complete, *names, value_from_callable=True)
        return bool(await checked(transaction, ADVICE))

    async def retire_prefix(self, prefix: str) -> bool:
        """Remove the note in authz:meta that keys have this prefix. Return False if there was none.

        The keys stay. Raises Unavailable.
        """
        removed = self._client.hdel(self._names.meta, f"{schema.META_PREFIX}{prefix}")
        return bool(await checked(removed, ADVICE))

    async def remains(self) -> str:
        """Describe the data of a store without authz:meta, with the remedy.

        Returns "" if the store is empty or has authz:meta. Raises Unavailable.
        """
        return await emptiness.remains(self._client, self._names)

    async def peppers(self) -> dict[str, str]:
        """Return the store's pepper fingerprints by version; empty without authz:meta.

        Raises Unavailable.
        """
        return meta.peppers_of(await self._hash(self._names.meta))

    async def sequence(self) -> int:
        """Return the number of the store's last change, or 0.

        Raises Unavailable, also if it is garbled.
        """
        found = await checked(self._client.get(self._names.seq), ADVICE)
        try:
            return encoding.number(self._names.seq, found or "0")
        except ValueError as cause:
            raise Unavailable(str(cause)) from None

    async def highest_seen(self) -> int:
        """Return the highest change that a registered sidecar has seen, or 0.

        Raises Unavailable.
        """
        return await highest_seen(self._client)

    async def has_imports(self) -> bool:
        """Return whether keys may have been imported into the store. Raises Unavailable."""
        return meta.has_imports(await self._hash(self._names.meta))

    async def find(self, kid: str) -> KeyRecord | None:
        """Return the record, or None if the key does not exist.

        Raises Unavailable if the store cannot be used, Unreadable if the record cannot be decoded.
        """
        found = await self._hash(self._names.key(kid))
        return encoding.decode(kid, found) if found else None

    async def apply(self, change: KeyChange) -> int:
        """Apply a change by the script and return the key's new version.

        Raises Conflict if the key is not at `base_version`, AliasTaken if an imported key exists,
        Unavailable if nothing was changed, OutcomeUnknown if the connection failed after the script
        was sent. A change that narrows rights is applied also to a full store.
        """
        await checked(self._client.ping(), ADVICE)  # a failure after this leaves it unknown
        keys, args = script_input(change, self._names, self._marks)
        apply = self._apply_when_full if change.narrows else self._apply
        try:
            reply = await apply(keys=keys, args=args)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as cause:
            raise OutcomeUnknown(f"the store did not confirm the change: {cause}") from None
        except exceptions.RedisError as cause:
            if is_full(cause):
                raise Unavailable(await describe_full(self._client)) from None
            raise Unavailable(f"the store refused the change: {refusal(cause)}") from None
        outcome = script_outcome(change, reply)
        if isinstance(outcome, Fault):
            raise outcome
        return outcome

    async def replicas(self, change: KeyChange, version: int) -> int | None:
        """Wait up to WAIT_MS. Return how many replicas have the change; None without Sentinel.

        0 also if the store refused to answer. Raises OutcomeUnknown if the connection fails, or if
        a failover has lost the change.
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


def script_input(
    change: KeyChange, names: schema.Names = schema.DEFAULT, marks: Marks | None = None
) -> tuple[list[str], list[str | int]]:
    """Return KEYS and ARGV of lua/apply_change.lua for this change.

    marks: for the entry of the audit trail; None: it gets no mark.
    """
    record = change.record
    event = encoding.encode_event(change.event, change.id, change.base_version)
    event = with_mark(marks, record.kid, event)
    fields = _flat(encoding.encode(record))
    keys = [
        names.key(record.kid),
        names.seq,
        names.log,
        names.audit,
        names.keys,
        names.client(record.client_id),
        *map(names.alias, change.aliases),
        *([names.client(change.former_client_id)] if change.former_client_id else []),
    ]
    gone = tombstones.of(record.kid, change.aliases) if not change.base_version else []
    keys += [names.gone(place.bucket) for place in gone]
    return keys, [
        change.id,
        change.base_version,
        names.changes,
        schema.LOG_LENGTH,
        record.kid,
        record.status.value,
        record.created_at,
        len(change.aliases),
        len(fields),
        *fields,
        *_flat(event),
        *(place.member for place in gone),
    ]


def script_outcome(change: KeyChange, reply: Any) -> int | Fault:
    """Return the version from a reply of lua/apply_change.lua.

    Otherwise return, not raise: Conflict if the key is at another version, AliasTaken if one of its
    aliases exists, Deleted if the key was deleted.
    """
    outcome, detail = reply
    if outcome == "gone":
        return Deleted(change.record.kid)
    if outcome == "conflict":
        return Conflict(f"{change.record.kid} is at version {detail}, not {change.base_version}")
    return AliasTaken(detail) if outcome == "taken" else int(detail)


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [text for pair in fields.items() for text in pair]


def _refuse_unlisted(found: Mapping[str, str], prefixes: Collection[str]) -> None:
    if problem := meta.unlisted_prefixes(found, prefixes):
        raise Foreign(problem)
