"""Snapshot: what the cache holds, in a file, so that a sidecar that is restarted in an outage of
the store still serves the keys it knew, for what is left of their grace.

Rules:
1. Digests only: what a record holds in the store. Readable by its owner alone.
2. Signed with a key of our pepper, and nothing of the file is looked at before that was verified.
3. A file is whole or not there: written beside, synced, renamed.
4. The age is counted from the last moment of trust, by the wall clock, and by the clock of this
   boot as well when it is still the same; the longer of both is believed. From the future: refused.
5. What was seen revoked has no age. It is taken from a file that is too old, too.
6. A sidecar that was never trusted and restored nothing writes nothing over what is there.
7. A path is one process's, as long as that lives: another would write into the same file, and speak
   for a sidecar that runs.
8. The event loop goes on: the work is done by a thread, in slices that leave it the interpreter.
   What a cache keeps packed is unpacked there, one slice after the other, and never all of it.

    line 1      what it is, when and by whom, the names of the fields
    lines       one record each, its fields as in the store; then one with the aliases of imported
                keys, as digest:kid (not in a file of the former version); then the revoked kids
    last line   HMAC-SHA-256 of all before it, in hex
"""

import fcntl
import hmac
import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any, Final

from authz.core.errors import BadInput, Fault
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.flows.keycache import CacheContents
from authz.flows.packed_records import pack
from authz.storage import schema

FORMAT: Final = "authz cache snapshot 2"
WITHOUT_ALIASES: Final = "authz cache snapshot 1"  # who upgrades in an outage goes on with that
SLICE: Final = 32  # records: under a millisecond
PAUSE: Final = 0.004  # seconds between two slices
MAX_BYTES: Final = 1 << 30


class SnapshotRefused(Fault):
    """The file cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class _Content:
    """What a file says. held_until: by the clock of that boot; held_until_ms: by the wall clock."""

    instance: str
    boot: str
    last_trusted: float
    held_until_ms: int
    by_grace: dict[int | None, dict[str, bytes]]  # packed records by kid, by their own grace
    aliases: list[tuple[bytes, str]]
    revoked: list[str]


@dataclass(frozen=True, slots=True)
class Restored:
    """What an earlier process left. `trouble`: why there are no records, if there are none."""

    holdings: CacheContents
    instance: str
    trouble: str = ""


class Snapshot:
    """One file. `boot`: what tells this boot of the machine from another, or empty.

    `write` and `read` block: call them in a thread.
    """

    def __init__(self, path: Path, keyring: Keyring, clock: Clock, boot: str) -> None:
        self._path = path
        self._keyring = keyring
        self._clock = clock
        self._boot = boot

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Let no other process use this path meanwhile. Raises BadInput when one does.

        Where nothing can be locked, nothing is; whether the file can be written shows later. The
        file that is locked stays: removing it would race with the next process.
        """
        claim = self._lock()
        try:
            yield
        finally:
            if claim is not None:
                os.close(claim)

    def _lock(self) -> int | None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            claim = os.open(f"{self._path}.lock", flags, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claim)
            problem = f"{self._path} is that of a live sidecar; name another path"
            raise BadInput("cache.snapshot", problem) from None
        except OSError:  # not a file system of that kind
            os.close(claim)
            return None
        return claim

    def __str__(self) -> str:
        return str(self._path)

    def write(
        self, held: CacheContents, instance: str, abandon: threading.Event | None = None
    ) -> bool:
        """Replace the file. Raises OSError. Slowly, and not at all once `abandon` is set, if given.

        Says whether it was written.
        """
        age = self._clock.monotonic() - held.last_trusted
        first = next(held.records(), None)
        header = {
            "format": FORMAT,
            "schema": schema.SCHEMA,
            "instance": instance,
            "boot": self._boot,
            "held_until": held.last_trusted,
            "held_until_ms": self._clock.wall_ms() - ceil(age * 1000),
            "fields": [*schema.encode(first), "version"] if first else [],
        }
        aside = self._path.with_name(f"{self._path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(aside, flags, 0o600), "wb") as file:
                os.fchmod(file.fileno(), 0o600)
                signature = hmac.new(self._keyring.snapshot_keys[-1], digestmod="sha256")
                for part in _parts(header, held):
                    signature.update(part)
                    file.write(part)
                    if abandon is not None and abandon.wait(PAUSE):
                        return False
                file.write(f"{signature.hexdigest()}\n".encode())
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self._path)
            _sync_directory(self._path.parent)
        finally:
            with suppress(OSError):
                aside.unlink()  # what is left when it did not end well
        return True

    def read(self, grace: float) -> Restored | None:
        """What the file holds and may still be gone on with; None when there is no file.

        grace: seconds, of keys that have none of their own. Raises SnapshotRefused.
        """
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as cause:
            raise SnapshotRefused(f"it cannot be read: {cause.strerror}") from None
        found = self._understood(self._verified(content))
        now = self._clock.monotonic()
        age, trouble = self._age(found, now)
        usable: dict[str, bytes] = {}
        for own, packed in found.by_grace.items():
            if not trouble and age < (grace if own is None else own / 1000):
                usable |= packed
        if found.by_grace and not usable:
            trouble = trouble or "it is older than the grace of its keys"
        aliases = [(digest, kid) for digest, kid in found.aliases if kid in usable]
        held = CacheContents(usable, found.revoked, now - age, aliases)
        return Restored(held, found.instance, trouble)

    def _verified(self, content: bytes) -> bytes:
        """All but the signature."""
        body, newline, last = content.removesuffix(b"\n").rpartition(b"\n")
        body += newline
        if not content.endswith(b"\n") or len(last) != 64 or len(content) > MAX_BYTES:  # noqa: PLR2004
            raise SnapshotRefused("it is truncated")
        for key in self._keyring.snapshot_keys:
            if hmac.compare_digest(hmac.digest(key, body, "sha256").hex().encode(), last):
                return body
        raise SnapshotRefused("it was tampered with, or written with another pepper")

    def _understood(self, body: bytes) -> _Content:
        """Its parts. Who signed is one of us, but may be of another version."""
        first, *middle, last = body.splitlines()
        try:
            header = json.loads(first)
            form = header["format"]
            if form not in {FORMAT, WITHOUT_ALIASES} or header["schema"] != schema.SCHEMA:
                raise SnapshotRefused("it is of another version")
            aliases = b"" if form == WITHOUT_ALIASES else middle.pop()
            by_grace: dict[int | None, dict[str, bytes]] = {}
            for line in middle:
                record = _record(dict(zip(header["fields"], json.loads(line), strict=True)))
                by_grace.setdefault(record.outage_grace, {})[record.kid] = pack(record)
            return _Content(
                str(header["instance"]),
                str(header["boot"]),
                float(header["held_until"]),
                int(header["held_until_ms"]),
                by_grace,
                [_alias(word) for word in aliases.decode().split()],
                last.decode().split(),
            )
        except (ValueError, LookupError, TypeError, Fault) as cause:
            raise SnapshotRefused(f"it cannot be understood: {cause}") from None

    def _age(self, found: _Content, now: float) -> tuple[float, str]:
        """Seconds since the last moment of trust, and what is wrong with that."""
        ages = [(self._clock.wall_ms() - found.held_until_ms) / 1000]
        if self._boot and found.boot == self._boot:
            ages.append(now - found.last_trusted)
        if min(ages) < 0:
            return 0.0, "it is from the future: the clock was set back"
        return max(ages), ""


def _parts(header: dict[str, Any], held: CacheContents) -> Iterator[bytes]:
    yield _line(header)
    records = held.records()
    while part := list(islice(records, SLICE)):
        yield b"".join(map(_record_line, part))
    yield from _words(f"{digest.hex()}:{kid}" for digest, kid in held.aliases)
    yield from _words(held.revoked)


def _words(words: Iterable[str]) -> Iterator[bytes]:
    """One line, in slices."""
    left = iter(words)
    while part := list(islice(left, 100 * SLICE)):
        yield f"{' '.join(part)} ".encode()
    yield b"\n"


def _record_line(record: KeyRecord) -> bytes:
    return _line([*schema.encode(record).values(), str(record.version)])


def _line(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _record(fields: dict[str, str]) -> KeyRecord:
    return schema.decode(fields["kid"], fields)


def _alias(word: str) -> tuple[bytes, str]:
    digest, kid = word.split(":")
    return bytes.fromhex(digest), kid


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
