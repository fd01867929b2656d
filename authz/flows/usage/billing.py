"""BillingExport: delivers the usage of closed hours, each count once.

Rules:
1. Records are written into the cursor before they are sent, and confirmed there after the receiver
   has them. If the process ends in between, the next export sends the same records first, with the
   same ids and quantities, whatever was counted meanwhile.
2. Each export compares the hours from the floor of the cursor on. So it needs no order, and an
   interrupted one is only continued.
3. Records without a customer, and those that the receiver refuses, are not delivered. The floor
   stays before them, so that the next export tries again.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from authz.core.errors import BadInput, Unavailable
from authz.core.records import KeyRecord
from authz.core.usage.billing.customers import NOT_BILLED, Customers
from authz.core.usage.billing.differences import KeyHours, differences
from authz.core.usage.billing.period import Period
from authz.core.usage.billing.ports import BillingSink, ClosedHours, ExportCursor, Pending
from authz.core.usage.billing.record import HOUR_SECONDS, BillingRecord, Unit
from authz.core.usage.ports import UsageIndex

MAX_READ: Final = 10_000  # hours of keys in memory at a time
MAX_KEYS: Final = 200  # that are read at once
MIN_KEYS: Final = 10
MAX_REFUSED: Final = 100  # before any record was delivered
MAX_NUMBER: Final = (1 << 63) - 1  # of a pending record

KeyRecords = Callable[[Sequence[str]], Awaitable[Mapping[str, KeyRecord]]]
"""Return the records of those of some kids that exist and can be read."""


@dataclass(slots=True)
class Exported:
    """The result of an export.

    repeated: records that an earlier export had sent without a confirmation. corrections: those of
    `records` that are a later difference. quantities: by unit. unassigned: records without a
    customer. refused: those that the receiver does not take. problem: about the first of these.
    """

    keys: int = 0
    records: int = 0
    corrections: int = 0
    repeated: int = 0
    quantities: dict[str, int] = field(default_factory=dict)
    unassigned: int = 0
    refused: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Receiver:
    """The receiver of an export.

    target: its name in the cursor, which belongs to one receiver. customers: None if its records
    need no customer. forgets_ms: it may count a record again that comes again after so many ms.
    max_age_hours: it takes no record of an older hour. None: it has no such bound.
    """

    sink: BillingSink
    target: str = "files"
    customers: Customers | None = None
    forgets_ms: int | None = None
    max_age_hours: int | None = None


class BillingExport:
    """Delivers records. on_progress: called after each delivery."""

    def __init__(
        self,
        store: ClosedHours,
        index: UsageIndex,
        cursor: ExportCursor,
        receiver: Receiver,
        *,
        units: Sequence[Unit],
        key_records: KeyRecords,
        on_progress: Callable[[Exported], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._index = index
        self._cursor = cursor
        self._sink = receiver.sink
        self._receiver = receiver
        self._units = units
        self._key_records = key_records
        self._on_progress = on_progress
        # By series: the index may yield a key again, before its records are sent.
        self._batch: dict[tuple[str, int, str, str], BillingRecord] = {}
        self._held: int | None = None
        self.exported = Exported()

    async def repeat(self, in_doubt: str = "") -> None:
        """Send the pending records of an earlier export again.

        in_doubt: `send` or `skip` records that the receiver may take twice. Raises BadInput about
        `--in-doubt` if there are some and it is empty, Unavailable.
        """
        now, after = await self._store.now_ms(), 0
        while found := self._cursor.pending(after, self._sink.batch):
            after = found[-1].number
            if self._is_in_doubt(found, now):
                if not in_doubt:
                    raise BadInput("--in-doubt", _doubt(found))
                if in_doubt == "skip":
                    self._cursor.confirm(after)
                    continue
            await self._deliver([each.record for each in found], after)
            self.exported.repeated += len(found)

    async def run(self, period: Period) -> None:
        """Deliver what is missing of a period, and advance the cursor.

        Raises Unavailable; records before that are delivered.
        """
        hours, before = period.hours, frozenset[str]()
        size = max(MIN_KEYS, min(MAX_KEYS, MAX_READ // max(1, len(hours))))
        if hours:
            async for page in self._index.used_since(hours.start * HOUR_SECONDS):
                kids = [kid for kid in page if kid not in before]  # pages overlap
                before = frozenset(page)
                for start in range(0, len(kids), size):
                    await self._add(kids[start : start + size], hours)
        await self._send()
        await self._sink.finish()
        self._cursor.confirm(MAX_NUMBER)
        self._cursor.advance(period.bounds(self._held))

    async def _add(self, kids: Sequence[str], hours: range) -> None:
        found = await self._store.read(kids, hours)
        customers = self._receiver.customers
        needs_all = customers is not None and customers.need_metadata
        needed = [each.kid for each in found if needs_all or not each.owners]
        records = await self._key_records(needed) if needed else {}
        for each in found:
            self.exported.keys += 1
            await self._add_key(each, hours, records.get(each.kid))

    async def _add_key(self, found: KeyHours, hours: range, key: KeyRecord | None) -> None:
        delivered = self._cursor.of(found.kid, hours)
        for record in differences(found, delivered, self._units, key):
            billed = self._assigned(record, key)
            if billed is None:
                continue
            self._batch[billed.series] = billed
            if len(self._batch) >= self._sink.batch:
                await self._send()

    def _assigned(self, record: BillingRecord, key: KeyRecord | None) -> BillingRecord | None:
        """Return the record with its customer, or None if it is not to be sent."""
        customers = self._receiver.customers
        if customers is None:
            return record
        customer = customers.of(record, key)
        if customer == NOT_BILLED:
            return None
        if not customer:
            self.exported.unassigned += 1
            self._hold(record, f"key {record.kid} has no customer")
            return None
        return replace(record, customer=customer)

    async def _send(self) -> None:
        if not self._batch:
            return
        records = list(self._batch.values())
        self._batch.clear()
        number = self._cursor.prepare(records, await self._store.now_ms())
        refused = await self._deliver(records, number)
        for record in records:
            if not refused or record.id not in refused:
                self._count(record)
        self._on_progress(self.exported)

    async def _deliver(self, records: Sequence[BillingRecord], number: int) -> frozenset[str]:
        """Deliver records with numbers up to `number`. Return the ids of the refused ones."""
        delivery = await self._sink.deliver(records)
        for record, reason in delivery.refused:
            self.exported.refused += 1
            self._hold(record, f"{record.id}: {reason}")
        if delivery.is_safe:
            self._cursor.confirm(number, [record for record, _ in delivery.refused])
        if self.exported.refused >= MAX_REFUSED and not self.exported.records:
            raise Unavailable(f"the receiver refuses all records; {self.exported.problem}")
        return frozenset(record.id for record, _ in delivery.refused)

    def _count(self, record: BillingRecord) -> None:
        done = self.exported
        done.records += 1
        done.corrections += record.revision > 1
        done.quantities[record.unit] = done.quantities.get(record.unit, 0) + record.quantity

    def _hold(self, record: BillingRecord, problem: str) -> None:
        self._held = record.hour if self._held is None else min(self._held, record.hour)
        self.exported.problem = self.exported.problem or problem

    def _is_in_doubt(self, found: Sequence[Pending], now: int) -> bool:
        forgets = self._receiver.forgets_ms
        return forgets is not None and now - found[0].sent_ms > forgets


def _doubt(found: Sequence[Pending]) -> str:
    problem = f"is needed: {len(found)} records were sent without an answer, too long ago to repeat"
    return f"{problem}; if the receiver has {found[0].record.id}, give skip, else send"
