"""Heartbeats: rounds of questions to the store, whose answers grant or end trust.

Rules:
1. Only the PONG to a PING sent at `t` extends trust, to `t + lease`. The store answers in order.
   So every change that it made before that PING has been applied here. A store that cannot write
   to its disk refuses PING, and every change. Its refusal counts as a PONG. Where a
   heartbeat writes (rule 3), that write is refused, and there is no trust. The store refuses our
   entry in the registry, too: see rule 7 of registration.py.
2. Trust is extended only if the sequence number in that heartbeat equals the last change applied.
   If they differ, changes were missed. They are read from the log, or the cache is flushed (see
   follower.py).
3. Never trust a replica: each heartbeat sends ROLE. Behind Sentinel and on a cluster each heartbeat
   also writes. A primary that lost its replicas then loses trust, even if it does not know of a new
   primary: it refuses the write, or no replica acknowledges it (see replication.py).
4. `authz:meta` must say that the store is ours. Without it, or with another schema or pepper, there
   is no trust. So an emptied store does not turn good keys into unknown ones. Another schema or
   pepper means another store, so entries kept for an outage are dropped too. Another number of
   partitions may be that of our store after a move: it is an outage like any other.
5. Each heartbeat reads the store's clock and passes it to `clock_watch` before it grants trust.
6. The first pause on a link is random. So sidecars that connect at the same moment do not send
   their heartbeats at the same moment ever after.
7. Before each PING `send` calls `announce`. Its writes are in the store before the PONG that grants
   trust.
8. A node of a cluster may refuse commands because of our slot. Then trust ends before the heartbeat
   does, and the link stays for REFUSED_SECONDS: a short refusal costs no reconnect. It ends before
   that if other nodes name another owner (owner_watch.py): a node that is cut off refuses for ever.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import hiredis

from authz.core.errors import Foreign, Unavailable
from authz.core.ports import ChangeSink, Clock
from authz.storage import encoding
from authz.storage.clock_watch import ClockWatch
from authz.storage.endpoint import Endpoint
from authz.storage.essential import EssentialWrites
from authz.storage.follower import Follower
from authz.storage.imported_index import ImportedIndex
from authz.storage.latest_meta import LatestMeta
from authz.storage.link import Link, expect
from authz.storage.meta import Emptied, OtherCount
from authz.storage.moves import DONE, FROZEN
from authz.storage.refusals import is_without_disk, refusal
from authz.storage.replication import Replication
from authz.storage.trust_lease import TrustLease

HEARTBEATS_PER_LEASE: Final = 4
PRIMARY: Final = "master"  # the store's own word
REFUSED_SECONDS: Final = 2.0
LATE: Final = (
    "a heartbeat took longer than cache.trust_lease ({:g} s); the store, the network or this "
    "sidecar is too slow"
)
AWAITED: Final = "the move of the store to this partition is not complete"
NOT_ACKNOWLEDGED: Final = "no replica acknowledges its writes"


@dataclass(slots=True)
class Heartbeat:
    """The results of one heartbeat so far; its PONG comes last. sent: `Clock.monotonic` seconds.

    fault: why it grants no trust, or "". in_step: all changes up to the store's number are applied.
    """

    sent: float
    fault: str = ""
    in_step: bool = False

    @property
    def nonce(self) -> str:
        """The text that its PING carries and its PONG must repeat: `sent` with six decimals."""
        return f"{self.sent:.6f}"

    def fail(self, cause: Exception) -> None:
        """Record `cause` as the reason to grant no trust. Only the first cause is kept."""
        self.fault = self.fault or str(cause)


class Heartbeats:
    """Sends heartbeats on the sidecar's link and judges their answers.

    lease: seconds of trust that one heartbeat grants. follower: compares the store's sequence
    number with the last change applied. meta, clock_watch: receive what each heartbeat reads.
    imported: compares itself with the store at each heartbeat. awaits_data: the partition is about
    to be set up, by a move of the store.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        trust: TrustLease,
        *,
        lease: float,
        follower: Follower,
        meta: LatestMeta,
        clock_watch: ClockWatch,
        imported: ImportedIndex,
        awaits_data: bool = False,
    ) -> None:
        self._names = endpoint.names
        self._clock = clock
        self._trust = trust
        self._lease = lease
        self._follower = follower
        self._meta = meta
        self._clock_watch = clock_watch
        self._imported = imported
        self._replication = Replication(lease) if endpoint.has_replicas else None
        self._writes = EssentialWrites()
        self._sink: ChangeSink
        self._announce: Callable[[Link], None]
        self._unanswered = 0
        self._fault = ""  # of the last heartbeat that was answered
        self._refusal: tuple[float, str] | None = None
        self._is_foreign = self._has_no_seq = False
        self.awaits_data = awaits_data
        self.is_frozen = False  # the store takes no changes, because it is being moved

    @property
    def is_foreign(self) -> bool:
        """True if the last authz:meta read has another schema or other peppers than ours."""
        return self._is_foreign

    def is_doubtful(self) -> bool:
        """Return whether the node of a cluster refuses commands, or no replica acknowledges."""
        return self._refusal is not None or self._fault == NOT_ACKNOWLEDGED

    def start(self, sink: ChangeSink, announce: Callable[[Link], None]) -> None:
        """Use these from now on; send nothing yet. Call it before `send` and `repeat`.

        sink: is flushed when the store turns out to be foreign. announce: is called with the link
        before each heartbeat.
        """
        self._sink, self._announce = sink, announce

    def begin_link(self) -> None:
        """Forget the unanswered heartbeats and the replicas of the link before."""
        self._unanswered, self._fault, self._refusal = 0, "", None
        self._imported.begin_link()
        if self._replication is not None:
            self._replication.start(self._clock.monotonic())

    def refused(self, fault: Unavailable) -> None:
        """End trust, because the node refused a command for the slot. The link may stay open."""
        self._trust.report(str(fault))
        self._trust.end()
        if self._refusal is None:
            self._refusal = self._clock.monotonic(), str(fault)

    async def repeat(self, link: Link, ended: asyncio.Event) -> None:
        """Send heartbeats on the link until it closes. `ended` is set when it does.

        Raises Unavailable with the fault of the link, if a whole lease of heartbeats is unanswered,
        or if the node has refused commands for REFUSED_SECONDS (2 s).
        """
        share = random.random()  # noqa: S311  jitter
        while link.is_open:
            if self._unanswered >= HEARTBEATS_PER_LEASE:
                raise Unavailable(self._fault or f"it has not answered for {self._lease:g} s")
            at, fault = self._refusal or (float("inf"), "")
            if self._clock.monotonic() - at > REFUSED_SECONDS:
                raise Unavailable(fault)
            self._unanswered += 1
            self.send(link)
            with suppress(TimeoutError):
                async with asyncio.timeout(share * self._lease / HEARTBEATS_PER_LEASE):
                    await ended.wait()
            share = 1.0
        raise Unavailable(link.fault)

    def send(self, link: Link) -> None:
        """Send one heartbeat on the link and return at once. Its answers grant or end trust."""
        beat = Heartbeat(self._clock.monotonic())
        self._announce(link)
        if self._replication is not None:
            on_written = partial(self._on_written, link, beat)
            self._writes.send(link, on_written, "SET", self._names.heartbeat, beat.nonce)
        link.send(partial(self._on_role, link, beat), "ROLE")
        link.send(partial(self._on_meta, beat), "HGETALL", self._names.meta)
        link.send(partial(self._on_seq, link, beat), "GET", self._names.seq)
        link.send(partial(self._on_time, beat), "TIME")
        link.send(partial(self._on_pong, beat), "PING", beat.nonce)

    # Replies. The parser calls these in the store's order.

    def _on_role(self, link: Link, beat: Heartbeat, reply: Any) -> None:
        try:
            role = expect(list, reply)
            if role[:1] != [PRIMARY]:  # it was the primary when the link was made
                link.abort(f"it became {' '.join(map(str, role[:1])) or 'something else'}")
            elif self._replication is not None:
                self._check_replicas(self._replication, link, beat, role)
        except (Unavailable, ValueError) as cause:
            beat.fail(cause)

    def _check_replicas(
        self, replication: Replication, link: Link, beat: Heartbeat, role: list[Any]
    ) -> None:
        replication.observe(beat.sent, role)
        if not replication.is_followed(beat.sent):
            beat.fail(Unavailable(NOT_ACKNOWLEDGED))
            if replication.is_overdue(beat.sent):  # reconnect, to ask who is the primary
                link.abort(NOT_ACKNOWLEDGED)

    def _on_meta(self, beat: Heartbeat, reply: Any) -> None:
        try:
            self._has_no_seq = False
            self._meta.update(expect(dict, reply))
            self.awaits_data = False
            if self._is_foreign:  # `announce` wrote nothing before this heartbeat
                self._is_foreign = False
                beat.fail(Unavailable("the store is ours again; waiting for the next heartbeat"))
        except Unavailable as cause:
            is_awaited = isinstance(cause, Emptied) and self.awaits_data
            self._has_no_seq = is_awaited or isinstance(cause, OtherCount)
            if isinstance(cause, OtherCount) and self._meta.move is not None:
                beat.fail(Unavailable(DONE.format(self._meta.move.count)))
            if isinstance(cause, Emptied):
                highest = self._follower.highest
                beat.fail(Unavailable(AWAITED) if is_awaited else Emptied(highest))
            if isinstance(cause, Foreign) and not self._is_foreign:
                self._is_foreign = True
                if not isinstance(cause, OtherCount):
                    self._sink.flush(foreign=True)
            beat.fail(cause)

    def _on_written(self, link: Link, beat: Heartbeat, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):  # reconnect, to ask who is the primary
            link.abort(f"the store refused: {refusal(reply)}")
        elif isinstance(reply, Unavailable):
            beat.fail(reply)

    def _on_seq(self, link: Link, beat: Heartbeat, reply: Any) -> None:
        if self._has_no_seq:  # the numbers of changes begin, or go on, elsewhere
            return
        try:
            seq = encoding.number(self._names.seq, expect(str, "0" if reply is None else reply))
        except (Unavailable, ValueError) as cause:
            move = self._meta.move
            if not isinstance(reply, Unavailable) and move is not None:
                beat.fail(Unavailable(FROZEN.format(move.count)))
                self._note_frozen(is_frozen=True)
            beat.fail(cause)
        else:
            self._note_frozen(is_frozen=False)
            self._follower.catch_up(seq)
            beat.in_step = self._follower.is_in_step
            if self._meta.has_imports():
                self._imported.send(link, seq)

    def _note_frozen(self, *, is_frozen: bool) -> None:
        if is_frozen != self.is_frozen:
            self.is_frozen = is_frozen
            self._meta.on_move()

    def _on_time(self, beat: Heartbeat, reply: Any) -> None:
        try:
            seconds, micros = (encoding.number("TIME", part) for part in expect(list, reply))
        except (Unavailable, ValueError, AttributeError) as cause:
            beat.fail(cause)
            return
        store_ms = seconds * 1000 + micros // 1000
        self._clock_watch.measured(store_ms, beat.sent, self._clock.monotonic())

    def _on_pong(self, beat: Heartbeat, reply: Any) -> None:
        if isinstance(reply, Unavailable):  # from the link itself: the store did not answer
            return
        if reply == beat.nonce or is_without_disk(reply):
            self._unanswered = 0
        elif isinstance(reply, Exception):
            beat.fail(Unavailable(f"the store refused: {refusal(reply)}"))
        else:
            beat.fail(Unavailable(f"unexpected answer to PING: {str(reply)[:100]}"))
        if self._clock.monotonic() - beat.sent >= self._lease:
            beat.fail(Unavailable(LATE.format(self._lease)))
        self._fault = beat.fault
        if beat.fault:
            self._trust.report(beat.fault)
            self._trust.end()
        elif beat.in_step:
            self._refusal = None
            self._trust.grant(beat.sent)
