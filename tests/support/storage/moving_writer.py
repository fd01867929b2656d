"""A writer that changes keys of a store with one partition while the store is moved."""

import asyncio
import hashlib
import random
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from authz.core.changes import Author, Unchanged
from authz.core.errors import OutcomeUnknown, Unavailable
from authz.core.keys.credentials import ImportedHash
from authz.core.new_keys import KeySpec
from authz.core.records import KeyRecord, RevocationReason
from authz.flows.importing import Done, Importer, Wanted
from authz.flows.lifecycle import Changed, Lifecycle
from authz.settings.model import Settings
from authz.wiring.administration import keyring, our_parts
from authz.wiring.store_parts import StoreParts

PAUSE = 0.001  # seconds
TENANTS = 12
KINDS = ("issue", "issue", "update", "update", "owner", "revoke", "disable", "delete", "import")


@dataclass(frozen=True)
class Change:
    """A change that was refused: what was wanted, of which key, and with which text or number."""

    kind: str
    kid: str
    text: str


class Doors:
    """Changes of keys of a store, with so many partitions as its settings have."""

    def __init__(self, parts: StoreParts, settings: Settings) -> None:
        ring = keyring(settings)
        self.parts = parts
        self._peppers = [*ring._peppers.values()][::-1]
        self.flow = Lifecycle(parts.keys, ring, parts.clock, lambda: parts.counters)
        self._importer = Importer(
            *(parts.imports, parts.index, parts.clock, "tests", ""), partitions=parts.partitions
        )

    async def make(self, change: Change) -> str:
        """Make a change, and return the kid of the key."""
        flow, author, kid = self.flow, self._author(), change.kid
        if change.kind == "issue":
            return (await flow.issue(_spec(change.text), author)).record.kid
        if change.kind == "import":
            digest = hashlib.sha256(change.text.encode()).digest()
            wanted = Wanted(ImportedHash(digest, self._peppers), _spec(change.text))
            (done,) = await self._importer.put([wanted])
            if not isinstance(done, Done):
                raise (done if isinstance(done, Exception) else AssertionError(done))
            return done.kid
        found: Any
        if change.kind == "update":
            found = await flow.update(kid, {"name": change.text}, author)
        elif change.kind == "owner":
            found = await flow.update(kid, {"tenant_id": change.text}, author)
        elif change.kind == "revoke":
            found = await flow.revoke(kid, RevocationReason.UNSPECIFIED, author)
        elif change.kind == "disable":
            found = await flow.disable(kid, author)
        else:
            found = await self.parts.deletion.delete(kid, author, is_forced=True)
        assert isinstance(found, (Changed, Unchanged, KeyRecord)), found
        return kid

    def _author(self) -> Author:
        return self.flow.author("tests")


def _spec(text: str) -> KeySpec:
    tenant = f"t{hash_of(text) % TENANTS}"
    return KeySpec(client_id=f"c{len(text)}", env="live", life_ms=None, tenant_id=tenant, name=text)


def hash_of(text: str) -> int:
    """Return a number that a text always has."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


class Writer:
    """Changes keys until it is stopped. expected: what was confirmed, by kid; None if deleted.

    unknown: kids of which a change may or may not have been made. refused: in their order.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        self._settings = settings
        self._rng = random.Random(seed)
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.expected: dict[str, dict[str, str] | None] = {}
        self.unknown: set[str] = set()
        self.refused: list[Change] = []
        self.reasons: set[str] = set()
        self.is_lost = False  # an issue may or may not have been made
        self.failure: BaseException | None = None

    def issue(self, count: int) -> None:
        """Issue so many keys."""
        asyncio.run(with_doors(self._settings, lambda doors: self._issue(doors, count)))

    def start(self) -> None:
        """Change keys from now on, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End that. Raises what the writer raised."""
        self._stop.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    async def _issue(self, doors: Doors, count: int) -> None:
        for _ in range(count):
            await self._one(doors, "issue")

    async def _run(self) -> None:
        try:
            await with_doors(self._settings, self._until_stopped)
        except BaseException as cause:  # noqa: BLE001  it is raised again in `stop`
            self.failure = cause

    async def _until_stopped(self, doors: Doors) -> None:
        while not self._stop.is_set():
            await self._one(doors, self._rng.choice(KINDS))
            await asyncio.sleep(PAUSE)

    async def _one(self, doors: Doors, kind: str) -> None:
        live = [kid for kid, one in self.expected.items() if one and kid not in self.unknown]
        live = [kid for kid in live if (self.expected[kid] or {})["status"] == "active"]
        if not live and kind not in {"issue", "import"}:
            return
        self._count += 1
        text = f"text {self._count} {self._rng.randrange(1 << 30)}"
        if kind == "owner":
            text = f"t{self._rng.randrange(TENANTS)}"
        is_new = kind in {"issue", "import"}
        change = Change(kind, "" if is_new else self._rng.choice(live), text)
        try:
            kid = await doors.make(change)
        except OutcomeUnknown:
            self.unknown.add(change.kid)
            self.is_lost = self.is_lost or is_new
        except Unavailable as cause:
            self.refused.append(change)
            self.reasons.add(str(cause))
            await asyncio.sleep(20 * PAUSE)
        else:
            self.note(change, kid)

    def note(self, change: Change, kid: str) -> None:
        """Note that a change was confirmed."""
        if change.kind == "delete":
            self.expected[kid] = None
            return
        known = self.expected.get(kid) or {}
        if change.kind in {"issue", "import"}:
            tenant = f"t{hash_of(change.text) % TENANTS}"
            known = {"status": "active", "name": change.text, "tenant_id": tenant}
        altered: Mapping[str, str] = {
            "update": {"name": change.text},
            "owner": {"tenant_id": change.text},
            "revoke": {"status": "revoked"},
            "disable": {"status": "disabled"},
        }.get(change.kind, {})
        self.expected[kid] = {**known, **altered}


async def with_doors(settings: Settings, work: Callable[[Doors], Awaitable[Any]]) -> Any:
    """Return what `work` returns about the store of these settings."""
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(our_parts(settings, keyring(settings)))
        return await work(Doors(parts, settings))
