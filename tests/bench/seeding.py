"""Seeding: many keys in a store, byte by byte as the product issues them, in a tenth of the time.

One key is made by the product. The others are copies of it with other ids, numbers, digests, times,
seals and marks, as commands on a plain socket. `test_seeding.py` compares both.
"""

import hashlib
import itertools
import random
import secrets
import socket
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

import hiredis

from authz.core import seals
from authz.core.changes import Author, KeyChange
from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import hmac_sha256
from authz.core.new_keys import KeySpec, issue
from authz.core.partitions import Partitions
from authz.core.trail import rows
from authz.storage import compact, compact_entries, encoding, schema
from authz.storage.field_codec import as_bytes, as_text, length, pack_number
from authz.storage.index_members import SHORT_BYTES, kid_of, short_member
from authz.storage.marks import with_mark
from tests.support.fakes import NOW

KEYS_A_CLIENT: Final = 10
LIFE_MS: Final = 90 * 86_400_000
BATCH: Final = 500
IN_FLIGHT: Final = 50_000  # commands, so that neither side waits for the other
HALF: Final = 62**8
RANDOM: Final = 16 + 32  # bytes of a change id and a digest
NUMBER: Final = 7_654_321  # of the key that the others are copies of


def tenant_of(names: schema.Names) -> str:
    """Return the tenant of all keys of a partition. It has four characters."""
    if names.partitions == 1:
        return "acme"
    home = Partitions(names.partitions).home
    tenants = (f"a{number:03}" for number in range(1000))
    return next(one for one in tenants if home("", tenant=one) == names.partition)


def change_of(
    ring: Keyring, number: int, kid: str | None = None, tenant: str = "acme"
) -> KeyChange:
    """Return the issue of a key. Each client gets KEYS_A_CLIENT (10), one after the other."""
    spec = KeySpec(
        client_id=f"client-{number // KEYS_A_CLIENT:07}",
        env="live",
        life_ms=LIFE_MS,
        scopes=frozenset({"models:read", "models:generate"}),
        project_id="web",
        tenant_id=tenant,
        name=f"key {number:07}",
    )
    author = Author(secrets.token_hex(16), "ops@example.com")
    minted = ring.mint("live", kid) if kid else ring.mint("live")
    return issue(spec, minted, author, NOW + number)


class Seeds:
    """Makes the commands that issue keys of one partition. Numbers are below 10 million.

    first: the number of the key with change 1.
    """

    def __init__(self, ring: Keyring, names: schema.Names = schema.DEFAULT, first: int = 0) -> None:
        self._names, self._first = names, first
        self._partitions = Partitions(names.partitions)
        self._pepper, pepper = list(ring._peppers.items())[-1]
        self._seal, self._mark = hmac_sha256(pepper.record_key), hmac_sha256(pepper.trail_key)
        change = change_of(ring, NUMBER, tenant=tenant_of(names))
        self._owner = record = change.record
        event = encoding.encode_event(change.event, change.id, 0)
        marked = with_mark(lambda: ring.trail_keys, record.kid, event)
        whole = {**encoding.encode(record), compact.CHANGE_ID: change.id}
        digest, mac = record.secrets[0].digest, compact_entries.pack(marked)[-rows.MARK_BYTES :]
        assert record.expires_at is not None
        self._sample: dict[bytes, bytes] = {
            b"kid": record.kid.encode(),
            b"id": bytes.fromhex(change.id),
            b"id_text": change.id.encode(),
            b"digest": digest,
            b"digest_text": digest.hex().encode(),
            b"at_text": str(record.created_at).encode(),
            b"at": pack_number(str(record.created_at)),
            b"at_length": length(record.created_at),
            b"end_text": str(record.expires_at).encode(),
            b"end": pack_number(str(record.expires_at)),
            b"name": f"key {NUMBER:07}".encode(),
            b"client": f"client-{NUMBER // KEYS_A_CLIENT:07}".encode(),
            b"mark": mac,
        }
        self._sealed = self._template(
            seals._canonical([record.kid, sorted(whole.items())]), texts=True
        )
        rest = sorted({"kid": record.kid, **event}.items())
        self._marked = self._template(rows._canonical(rest), texts=True)
        body = self._template(compact.body(whole))
        entry = self._template(compact_entries.pack(marked))
        self._sample |= {b"seal": bytes(16), b"short": bytes(SHORT_BYTES), b"seq": bytes(7)}
        head = b"\x01%(seq)b%(id)b" + self._pepper.encode() + b"%(seal)b"
        self._log = (
            *(b"XADD", names.log.encode(), b"MAXLEN", b"~", str(schema.LOG_LENGTH).encode()),
            *(b"%(row)b", b"kid", b"%(kid)b", b"status", b"active", b"at", b"%(at_text)b"),
            *(b"change_id", b"%(id_text)b"),
        )
        self._others = (
            (b"SET", names.key("").encode() + b"%(kid)b", head + body),
            (b"XADD", names.audit.encode(), b"%(row)b", b"kid", b"%(kid)b", b"entry", entry),
        )

    def _template(self, text: bytes, *, texts: bool = False) -> bytes:
        """Return the text with places for what differs. texts: ids and times stand as text."""
        text = text.replace(b"%", b"%%")
        for name, value in self._sample.items():
            if texts and name in {b"id", b"digest", b"at", b"at_length", b"end", b"mark"}:
                continue
            text = text.replace(value.replace(b"%", b"%%"), b"%%(%b)b" % name)
        return text

    def batch(self, numbers: range, logged_from: int = 0) -> tuple[bytes, int]:
        """Return the commands for these keys, whose changes have as many digits, and their number.

        logged_from: the first key that is in the log. `seq` is set, too.
        """
        digits = len(str(numbers[0] + 1 - self._first))
        commands = (self._log, *self._others) if numbers[-1] >= logged_from else self._others
        whole = b"".join(self._command(one, digits) for one in commands)
        random_bytes = secrets.token_bytes(RANDOM * len(numbers))
        parts = (random_bytes[at : at + RANDOM] for at in range(0, len(random_bytes), RANDOM))
        all_values = list(map(self._values, numbers, parts))
        made = [whole % values for values in all_values]
        places = [(values[b"at_text"], values[b"short"]) for values in all_values]
        made.append(_placed(self._names.keys, places))
        owners = [number // KEYS_A_CLIENT for number in numbers]
        for owner, group in itertools.groupby(zip(owners, places, strict=True), itemgetter(0)):
            made.append(_placed(self._names.client(f"client-{owner:07}"), [p for _, p in group]))
        last = str(numbers[-1] + 1 - self._first).encode()
        made.append(_packed([b"SET", self._names.seq.encode(), last]))
        return b"".join(made), len(commands) * len(numbers) + len(set(owners)) + 2

    def _command(self, parts: tuple[bytes, ...], digits: int) -> bytes:
        sample = self._sample | {b"row": bytes(digits + 2)}
        return _packed(parts, [part % sample for part in parts])

    def _values(self, number: int, part: bytes) -> dict[bytes, bytes]:
        seq, at = number + 1 - self._first, NOW + number
        short = _half().to_bytes(6) + _half().to_bytes(6)
        kid = kid_of(as_text(short)).encode()
        if self._partitions.count > 1:
            kid = self._partitions.fitting(kid.decode(), self._owner).encode()
            short = as_bytes(short_member(kid.decode()))
        change_id, digest, end = part[:16], part[16:], at + LIFE_MS
        values = {
            b"kid": kid,
            b"short": short,
            b"seq": seq.to_bytes(7),
            b"row": b"%d-0" % seq,
            b"id": change_id,
            b"id_text": change_id.hex().encode(),
            b"digest": digest,
            b"digest_text": digest.hex().encode(),
            b"at_text": b"%d" % at,
            b"at": at.to_bytes(6),
            b"at_length": length(at),
            b"end_text": b"%d" % end,
            b"end": end.to_bytes(6),
            b"name": b"key %07d" % number,
            b"client": b"client-%07d" % (number // KEYS_A_CLIENT),
        }
        whole = hashlib.sha256(self._sealed % values).digest()
        values[b"seal"] = self._seal(whole + b"%d" % seq)[: seals.MAC_BYTES]
        values[b"mark"] = self._mark(self._marked % values)[: rows.MARK_BYTES]
        return values


def _half() -> int:
    while (number := random.getrandbits(48)) >= HALF:
        pass
    return number


def _packed(parts: Sequence[bytes], samples: Sequence[bytes] | None = None) -> bytes:
    """Return a command of these parts. samples: have the length of each, if that differs."""
    made = [b"*%d\r\n" % len(parts)]
    for part, sample in zip(parts, samples or parts, strict=True):
        made.append(b"$%d\r\n%b\r\n" % (len(sample), part))
    return b"".join(made)


def _placed(name: str, places: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the command that adds scores and members to an index."""
    return _packed([b"ZADD", name.encode(), *itertools.chain.from_iterable(places)])


def _batches(numbers: range) -> Iterator[range]:
    """Yield the numbers in order, those of one batch with as many digits of their changes."""
    for _, same in itertools.groupby(numbers, lambda number: len(str(number + 1 - numbers[0]))):
        found = list(same)
        for at in range(0, len(found), BATCH):
            part = found[at : at + BATCH]
            yield range(part[0], part[-1] + 1)


def seed(port: int, ring: Keyring, numbers: range, names: schema.Names = schema.DEFAULT) -> None:
    """Issue these keys in a partition of the store at this port, as its changes from 1 on.

    names: those of the partition. Raises SystemExit if the store refuses a command.

    Changes that the log would have dropped again are not written to it.
    """
    seeds, reader = Seeds(ring, names, numbers[0]), hiredis.Reader()
    logged_from = numbers[-1] + 1 - schema.LOG_LENGTH - BATCH
    with socket.create_connection(("127.0.0.1", port)) as link:
        waiting = 0
        for batch in _batches(numbers):
            commands, count = seeds.batch(batch, logged_from)
            link.sendall(commands)
            waiting += count
            while waiting > IN_FLIGHT:
                waiting -= _replies(link, reader)
        while waiting:
            waiting -= _replies(link, reader)


def _replies(link: socket.socket, reader: Any) -> int:
    """Wait for replies of the store and return their number."""
    reader.feed(link.recv(1 << 20))
    count = 0
    while (reply := reader.gets()) is not False:
        if isinstance(reply, Exception):
            raise SystemExit(f"a key was not written: {reply}")
        count += 1
    return count
