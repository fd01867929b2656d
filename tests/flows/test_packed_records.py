"""PackedRecords: packing loses nothing, and what is kept is bounded, packed or at hand."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from authz.core.records import KeyRecord
from authz.flows.packed_records import PackedRecords, pack, unpack
from authz.storage import encoding
from tests.support.fakes import make_record
from tests.support.storage.strategies import RECORDS

ROOM, IN_USE = 5, 2
KIDS = [f"{number:016d}" for number in range(8)]
DEADLINES = st.floats(allow_nan=False)
kids = st.sampled_from(KIDS)


def types_of(value):
    """The type of a value, and of all that is in it."""
    if isinstance(value, tuple):
        return [type(value), *map(types_of, value)]
    if hasattr(value, "__dataclass_fields__"):
        return [type(value), *(types_of(getattr(value, field.name)) for field in fields(value))]
    return type(value)


@given(record=RECORDS, deadline=DEADLINES)
def test_packing_loses_nothing(record: KeyRecord, deadline: float):
    """Every record that the store may hold comes back equal, each part of the same type."""
    read = encoding.decode(record.kid, encoding.encode(record) | {"version": str(record.version)})

    back, until = unpack(record.kid, pack(read, deadline))

    assert (back, until) == (read, deadline)
    assert types_of(back) == types_of(read)


class ShelfMachine(RuleBasedStateMachine):
    """PackedRecords for five records, two of them in use, beside a plain dict of the entries."""

    def __init__(self) -> None:
        super().__init__()
        self.records = PackedRecords(ROOM, IN_USE)
        self.entries: dict[str, tuple] = {}

    @rule(kid=kids, version=st.integers(1, 9), deadline=DEADLINES)
    def put(self, kid, version, deadline):
        """A record takes the place of an older one, and is the newest of all."""
        record = make_record(kid=kid, version=version)
        self.entries.pop(kid, None)
        self.entries[kid] = (record, deadline)

        assert self.records.put(record, deadline) is self.make_room()

    @rule(kid=kids)
    def fetch(self, kid):
        """A record is taken into use, and is then at hand as the same object."""
        found = self.records.fetch(kid)

        assert found == self.entries.get(kid)
        assert self.records.in_use(kid) is found
        assert self.records.fetch(kid) is found

    @rule(kid=kids)
    def pop(self, kid):
        """A record is kept no more."""
        self.records.pop(kid)
        self.entries.pop(kid, None)

    @rule()
    def clear(self):
        """Nothing is kept any more."""
        self.records.clear()
        self.entries.clear()

    @rule(numbers=st.lists(st.integers(0, len(KIDS) - 1), unique=True), version=st.integers(1, 9))
    def update(self, numbers, version):
        """Records that were packed elsewhere are added, or replace those here."""
        added = {KIDS[i]: (make_record(kid=KIDS[i], version=version), float(i)) for i in numbers}
        self.records.update({kid: pack(*entry) for kid, entry in added.items()})
        self.entries.update(added)
        self.make_room()

    @invariant()
    def keeps_what_it_should(self):
        """The same records, in the same order, and those at hand say the same."""
        kept = {kid: unpack(kid, packed) for kid, packed in self.records.packed.items()}
        at_hand = {kid: entry for kid in KIDS if (entry := self.records.in_use(kid))}

        assert list(kept.items()) == list(self.entries.items())
        assert len(self.records) == len(kept)
        assert at_hand.items() <= kept.items()
        assert len(at_hand) <= IN_USE

    def make_room(self) -> bool:
        """Remove the oldest until five are left. Return whether one was removed."""
        excess = list(self.entries)[:-ROOM]
        for kid in excess:
            del self.entries[kid]
        return bool(excess)


TestShelf = ShelfMachine.TestCase


@pytest.mark.parametrize("used", KIDS[:3])
def test_the_latest_are_at_hand(used):
    """The records that were put or fetched last are unpacked."""
    records = PackedRecords(ROOM, IN_USE)
    for kid in KIDS[:5]:
        records.put(make_record(kid=kid), 1.0)

    records.fetch(used)
    records.fetch(KIDS[6])

    assert [kid for kid in KIDS if records.in_use(kid)] == [used, KIDS[4]]
