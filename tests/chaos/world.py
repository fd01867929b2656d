"""The world of one episode: a store, its administration, sidecar processes, and their history."""

import asyncio
import contextlib
import json
import math
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Self

from authz.core.errors import Fault
from authz.core.new_keys import KeySpec
from authz.core.partitions import Partitions
from authz.core.records import RevocationReason
from authz.core.tokens.text import MAX_LIFETIME, new_token_id
from authz.flows.confirmation import acknowledged
from authz.flows.lifecycle import Changed, Result
from authz.storage.endpoint import Endpoint
from authz.storage.signing_keys import StoredSigningKeys
from tests.chaos.checker import Bounds
from tests.chaos.history import Change, Key, State, now
from tests.chaos.mutants import RELOADING
from tests.chaos.partition import Partition
from tests.chaos.process import SidecarProcess
from tests.chaos.rules import HELD, Rules, settings_text
from tests.support.fakes import make_keyring
from tests.support.gate import Gate
from tests.support.real import RealClock
from tests.support.stalls import BEARABLE, TICK
from tests.support.tokens import ISSUER, KEY_ID, claims_of, issue, signing_key

LIFE_MS = 3_600_000  # of some keys: longer than a run, and nothing beside a clock that jumps
GRACE = 2.0  # of keys that have none of their own
WAITED_FOR = 0.3  # share of the revocations whose acknowledgement is waited for
PATIENCE = 4.0  # seconds
ROUNDING = 0.002  # of the moment at which waiting is over
STOPS_WITHIN = 20.0  # seconds
FULL = "the store is full"  # in the message of a change that a full store refused
REASON = RevocationReason.UNSPECIFIED
FINAL = (State.REVOKED, State.ROTATED, State.ABSENT)
TWO_REASONS = {State.DISABLED, State.NARROWED}  # a key has one of them at a time


class World(contextlib.AsyncExitStack):
    """Keys, changes and sidecars. endpoint: the administration's address of the store."""

    def __init__(self, endpoint: Endpoint, dice: random.Random, bounds: Bounds) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.bounds = bounds
        self.dice = dice
        self.keys: list[Key] = []
        self.sidecars: list[SidecarProcess] = []
        self.faults: list[tuple[float, str]] = []
        self.events: list[tuple[float, str]] = []  # faults and their steps, in order
        self.confirmed = 0
        self.unknown = 0
        self.refused: Counter[str] = Counter()  # changes that a full store refused, by what they do
        self.acknowledged = 0
        self.is_over = False

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.directory = Path(tempfile.mkdtemp(prefix="authz-chaos-"))
        self.callback(shutil.rmtree, self.directory)
        self._ring = make_keyring(issuer=ISSUER)
        self._ring.partitions = Partitions(self.endpoint.count)
        stores = [Partition.of(one, self._ring) for one in self.endpoint.partitions()]
        self.partitions = [await self.enter_async_context(store) for store in stores]
        entry = self._ring.signing_entries.write(signing_key(signs_from=0))
        await StoredSigningKeys(self.partitions[0].client).add(KEY_ID, entry, "")
        self._waiting: set[asyncio.Task[None]] = set()
        self.callback(asyncio.create_task(self._watch()).cancel)
        return self

    # sidecars

    async def start_sidecar(self, kind: str, where: dict, gate: Gate | None = None) -> None:
        """Start one more process."""
        name = f"{kind}-{len(self.sidecars)}"
        answers, stalls, log, settings = (
            self.directory / f"{name}.{kind_of}"
            for kind_of in ("answers", "stalls", "log", "settings")
        )
        settings.write_text(settings_text(Rules.FIRST))
        promised = {"lease": self.bounds.lease, "isolation": self.bounds.isolation, "grace": GRACE}
        files = {"answers": str(answers), "stalls": str(stalls), "settings": str(settings)}
        given = {"kind": kind} | files | promised | where
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.chaos.sidecar",
                json.dumps(given),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
            )
        has_rules = kind in RELOADING
        reloads = [Change(-math.inf, -math.inf, frozenset({Rules.FIRST}))] if has_rules else []
        self.sidecars.append(
            SidecarProcess(kind, name, process, answers, stalls, log, settings, [], reloads, gate)
        )

    async def sidecars_ready(self) -> None:
        """Wait until all of them work."""
        for sidecar in self.sidecars:
            if await sidecar.process.stdout.readline() != b"ready\n":
                raise AssertionError(f"{sidecar.name} did not start:\n{sidecar.log.read_text()}")
            sidecar.outages.append((0.0, now()))
        self.callback(self._kill_sidecars)

    async def stop_sidecars(self) -> None:
        """Stop all of them and check that none ended by itself."""
        for sidecar in self.sidecars:
            if sidecar.process.returncode is not None:
                raise AssertionError(f"{sidecar.name} ended:\n{sidecar.log.read_text()[-2000:]}")
            sidecar.process.stdin.close()
        for sidecar in self.sidecars:
            try:
                code = await asyncio.wait_for(sidecar.process.wait(), STOPS_WITHIN)
            except TimeoutError:
                raise AssertionError(f"{sidecar.name} does not stop") from None
            if code:
                raise AssertionError(f"{sidecar.name} failed:\n{sidecar.log.read_text()[-2000:]}")

    def _kill_sidecars(self) -> None:
        """Kill those that still run."""
        for sidecar in self.sidecars:
            with contextlib.suppress(ProcessLookupError):
                sidecar.process.kill()

    def everybody(self, command: dict) -> None:
        """Send a command to every sidecar."""
        for sidecar in self.sidecars:
            sidecar.tell(command)

    @contextlib.asynccontextmanager
    async def outage(self, *sidecars: SidecarProcess) -> AsyncIterator[None]:
        """Mark an outage for these sidecars, or for all if none is named."""
        began = now()
        try:
            yield
        finally:
            for sidecar in sidecars or self.sidecars:
                sidecar.outages.append((began, now()))

    @contextlib.asynccontextmanager
    async def loss_of(self, partitions: frozenset[int]) -> AsyncIterator[None]:
        """Mark an outage of these partitions for all sidecars."""
        began = now()
        try:
            yield
        finally:
            self.lost(partitions, began)

    def lost(self, partitions: frozenset[int], since: float) -> None:
        """Mark an outage of these partitions, until now."""
        for sidecar in self.sidecars:
            sidecar.lost.append((partitions, since, now()))

    def begin(self, fault: str) -> None:
        """Note that this fault begins."""
        self.faults.append((now(), fault))
        self.note(fault)

    def note(self, step: str) -> None:
        """Note a step of a fault, for the report about late answers."""
        self.events.append((now(), step))

    async def _watch(self) -> None:
        """Record as outages the times in which this event loop, and so the gates, did not run."""
        last = now()
        while True:
            await asyncio.sleep(TICK)
            if now() - last > TICK + BEARABLE:
                for sidecar in self.sidecars:
                    sidecar.outages.append((last, now()))
            last = now()

    # changes

    async def change(self, at: int) -> None:
        """Make a random change in a partition."""
        own = [number for number in self._recent() if self.keys[number].partition == at]
        live = [number for number in own if self.keys[number].state is State.ACTIVE]
        one_of = self.dice.choice
        what = self.dice.random()
        if what < 0.35 or not live:
            await self.issue(at)
        elif what < 0.6:
            await self.alter(self.dice.choice(live), State.REVOKED)
        elif what < 0.65:
            await self.alter(one_of(live), one_of((State.ROTATED, State.NARROWED)))
        elif what < 0.82:
            number = one_of(live)
            await self.alter(number, one_of((State.DISABLED, State.NARROWED)))
            await asyncio.sleep(self.dice.uniform(0, 0.01))
            await self.alter(number, State.ACTIVE)
        else:
            await self._flap(at)

    async def _flap(self, at: int) -> None:
        """Make several changes to a key that all sidecars request."""
        number = await self.issue(at)
        if number is None:
            return
        await asyncio.sleep(self.dice.uniform(0, 0.03))
        last = self.dice.choice((State.REVOKED, State.ROTATED, State.NARROWED))
        for state in (State.DISABLED, State.ACTIVE, State.NARROWED, State.ACTIVE, last):
            await self.alter(number, state)

    def _recent(self) -> range:
        """Return the numbers of the newest keys, without those of their tokens."""
        return range(max(0, len(self.keys) - 400), len(self.keys), 2)

    async def issue(self, at: int) -> int | None:
        """Issue a key in a partition. Every sidecar then requests it and a token of it.

        Return the number of the key in `keys`; that of the token is one more. None if it is unknown
        whether the key was issued.
        """
        grace = self.dice.choice((0.0, GRACE))
        where = self.partitions[at]
        flow = where.lifecycle
        spec = KeySpec(
            client_id=where.owner,
            env="live",
            life_ms=self.dice.choice((None, LIFE_MS)),
            outage_grace=None if grace else 0,
            scopes=frozenset({HELD}),
        )
        asked, confirmed, issued = await self._timed(
            at, lambda: flow.issue(spec, flow.author("chaos")), State.ACTIVE
        )
        if issued is None:
            return None
        key = Key(issued.record.kid, issued.key_text, grace, partition=at)
        key.record(asked, confirmed, State.ACTIVE)
        at = int(time.time())
        until, name = at + MAX_LIFETIME, new_token_id("1")
        times = {"issued_at": at, "not_before": at, "expires_at": until}
        token = issue(self._ring, claims_of(issued.record, token_id=name, **times))
        for one in (key, key.token(token)):
            self.keys.append(one)
            self.everybody({"add": one.text})
        return len(self.keys) - 2

    async def alter(self, number: int, state: State) -> None:
        """Change the state of a key, unless its present state is unknown or final."""
        key = self.keys[number]
        change = self.partitions[key.partition].lifecycle
        by = change.author("chaos")
        if key.state in {None, *FINAL, state} or {key.state, state} == TWO_REASONS:
            return
        self.everybody({"hot": number})
        kid, scopes = key.kid, frozenset({HELD})
        restore = {
            State.DISABLED: lambda: change.enable(kid, by),
            State.NARROWED: lambda: change.update(kid, {}, by, add_scopes=scopes),
        }
        work = {
            State.REVOKED: lambda: change.revoke(kid, REASON, by),
            State.DISABLED: lambda: change.disable(kid, by),
            State.NARROWED: lambda: change.update(kid, {}, by, remove_scopes=scopes),
            State.ROTATED: lambda: change.rotate(kid, 0, by),
            State.ACTIVE: restore.get(key.state),
        }[state]
        asked, confirmed, changed = await self._timed(key.partition, work, state)
        key.record(asked, confirmed, state)
        if state is State.REVOKED and confirmed and changed and self.dice.random() < WAITED_FOR:
            both = self.keys[number : number + 2]
            task = asyncio.create_task(self._wait_for_sidecars(both, changed))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _wait_for_sidecars(self, both: list[Key], changed: Changed) -> None:
        everybody = sum(sidecar.kind == "leased" for sidecar in self.sidecars)
        place = self.partitions[both[0].partition]
        with contextlib.suppress(Fault):
            found = await acknowledged(
                place.directory, place.trail, changed.record, PATIENCE, RealClock()
            )
            if found.is_complete and found.confirmed == found.sidecars == everybody:
                for one in both:
                    one.acknowledged = now()
                self.acknowledged += 1
            until = max((each.may_allow_until for each in found.outstanding), default=0)
            left = max(0.0, until / 1000 - time.time())
            for one in both:
                one.over = now() + left + ROUNDING

    async def _timed(
        self, at: int, work: Callable[[], Awaitable[Result]], state: State
    ) -> tuple[float, float | None, Changed | None]:
        """Make a change; return when it was asked, when it was certainly made, and its result.

        state: of the key after it.
        """
        async with self.partitions[at].at_rest:
            asked = now()
            try:
                result = await work()
            except Fault as cause:
                self.unknown += 1
                self.refused[state] += FULL in str(cause)
                return asked, None, None
        changed = result if isinstance(result, Changed) else None
        # Without a replica that has it, a failover may lose it.
        kept = changed is not None and changed.replicas != 0
        self.confirmed += kept
        return asked, now() if kept else None, changed
