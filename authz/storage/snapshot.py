"""Snapshot: the content of the cache in a file.

A sidecar that restarts during an outage of the store serves these keys for the rest of their grace.

Rules:
1. The file holds digests, never keys. Only its owner can read it.
2. It is signed with a key derived from the pepper. The signature is verified before anything else.
3. A file is complete or absent: it is written under another name, synced, and renamed.
4. Its age counts from the last moment of trust, by the wall clock. If the machine has not rebooted,
   its age by the monotonic clock counts too, and the longer one holds. A file from the future is
   refused.
5. Revoked kids never expire. They are also taken from a file that is too old.
6. A sidecar that was never trusted and restored nothing does not overwrite the file.
7. A path belongs to one process while that lives. A second one would overwrite the file and remove
   the registry entry of a running sidecar.
8. A thread does the work, in slices, so that the event loop is not blocked. It unpacks the cache's
   packed records one slice at a time.

    line 1      format, schema, instance, times, and the names of the fields
    lines       one record each, its fields as in the store
    then        one line with the aliases of imported keys as digest:kid (absent in the old format),
                and one line with the revoked kids
    last line   HMAC-SHA-256 of all lines before it, in hexadecimal
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
from authz.flows.cache_contents import CacheContents
from authz.flows.packed_records import pack
from authz.storage import encoding, schema

FORMAT: Final = "authz cache snapshot 2"
WITHOUT_ALIASES: Final = "authz cache snapshot 1"  # read after an upgrade during an outage
SLICE: Final = 32  # records: under a millisecond
PAUSE: Final = 0.004  # seconds between two slices
MAX_BYTES: Final = 1 << 30


class SnapshotRefused(Fault):
    """The snapshot file cannot be used, for the reason in the text."""


@dataclass(frozen=True, slots=True)
class _Content:
    """Content of a file. instance, boot: the sidecar that wrote it, and the boot of its machine.

    last_trusted: last moment of trust, in seconds of the monotonic clock of `boot`. held_until_ms:
    the same moment by the wall clock, in ms since the epoch.
    """

    instance: str
    boot: str
    last_trusted: float
    held_until_ms: int
    by_grace: dict[int | None, dict[str, bytes]]  # packed records by kid, grouped by their grace
    aliases: list[tuple[bytes, str]]
    revoked: list[str]


@dataclass(frozen=True, slots=True)
class Restored:
    """The usable content of an earlier process. trouble: why none of its records is usable, or "".

    instance: the sidecar that wrote the file. The revoked kids are always included.
    """

    contents: CacheContents
    instance: str
    trouble: str = ""


class Snapshot:
    """One snapshot file. boot: id of this boot of the machine, or "" if unknown.

    `write` and `read` block: call them in a thread. `str` is the path.
    """

    def __init__(self, path: Path, keyring: Keyring, clock: Clock, boot: str) -> None:
        self._path = path
        self._keyring = keyring
        self._clock = clock
        self._boot = boot

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold a lock on `PATH.lock` during the block. Raises BadInput if another process holds it.

        If the directory or file system allows no lock, none is taken. The lock file is not removed,
        because that would race with the next process.
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
            problem = f"{self._path} is in use by another sidecar; name another path"
            raise BadInput("cache.snapshot", problem) from None
        except OSError:  # this file system has no locks
            os.close(claim)
            return None
        return claim

    def __str__(self) -> str:
        return str(self._path)

    def write(
        self, held: CacheContents, instance: str, abandon: threading.Event | None = None
    ) -> bool:
        """Replace the file; return whether it was written. Raises OSError. Blocks.

        With `abandon` it pauses PAUSE seconds between slices, and returns False without writing
        once `abandon` is set. The old file stays in that case and after an error. held: of a cache
        that was trusted once. instance: this sidecar.
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
            "fields": [*encoding.encode(first), "version"] if first else [],
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
                aside.unlink()  # left over if writing failed
        return True

    def read(self, grace: float) -> Restored | None:
        """Return the content that may still be served, or None if there is no file. Blocks.

        grace: seconds, for keys without their own. If all records are too old, or the file is from
        the future, only the revoked kids are returned and `trouble` says why. Raises
        SnapshotRefused for a file that is unreadable, altered or of another format.
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
        """Return the content without its signature line.

        Raises SnapshotRefused if it is truncated, longer than MAX_BYTES or the signature is wrong.
        """
        body, newline, last = content.removesuffix(b"\n").rpartition(b"\n")
        body += newline
        if not content.endswith(b"\n") or len(last) != 64 or len(content) > MAX_BYTES:  # noqa: PLR2004
            raise SnapshotRefused("it is truncated")
        for key in self._keyring.snapshot_keys:
            if hmac.compare_digest(hmac.digest(key, body, "sha256").hex().encode(), last):
                return body
        raise SnapshotRefused("it was tampered with, or written with another pepper")

    def _understood(self, body: bytes) -> _Content:
        """Return the parsed content. A sidecar of another version may have written it.

        Raises SnapshotRefused for another format or schema, or if it cannot be parsed.
        """
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
            raise SnapshotRefused(f"its content cannot be read: {cause}") from None

    def _age(self, found: _Content, now: float) -> tuple[float, str]:
        """Return the seconds since the last moment of trust, and "".

        For a file from the future, return 0 and the problem. now: monotonic seconds.
        """
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
    """Yield one line of words, in slices."""
    remaining = iter(words)
    while part := list(islice(remaining, 100 * SLICE)):
        yield f"{' '.join(part)} ".encode()
    yield b"\n"


def _record_line(record: KeyRecord) -> bytes:
    return _line([*encoding.encode(record).values(), str(record.version)])


def _line(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _record(fields: dict[str, str]) -> KeyRecord:
    return encoding.decode(fields["kid"], fields)


def _alias(word: str) -> tuple[bytes, str]:
    digest, kid = word.split(":")
    return bytes.fromhex(digest), kid


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
