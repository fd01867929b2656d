"""Shelf: bounded, and the same whether a record is packed or not."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from authz.flows.shelf import Shelf
from tests.fakes import make_record

KIDS = [f"{number:016d}" for number in range(8)]
kids = st.sampled_from(KIDS)


class ShelfMachine(RuleBasedStateMachine):
    """A shelf for five records, two of them in use, beside a plain dict that forgets nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf(max_entries=5, max_in_use=2)
        self.put_last: dict[str, tuple] = {}

    @rule(kid=kids, version=st.integers(1, 9), deadline=st.floats(0, 1e9))
    def put(self, kid, version, deadline):
        record = make_record(kid=kid, version=version)
        room = kid in self.here() or len(self.shelf) < 5

        dropped = self.shelf.put(record, deadline)

        self.put_last[kid] = (record, deadline)
        assert dropped is not room
        assert self.shelf.fetch(kid) == (record, deadline)

    @rule(kid=kids)
    def fetch(self, kid):
        found = self.shelf.fetch(kid)

        assert found is None or found == self.put_last[kid]
        assert self.shelf.in_use(kid) is found

    @rule(kid=kids)
    def pop(self, kid):
        self.shelf.pop(kid)
        self.put_last.pop(kid, None)

        assert self.shelf.fetch(kid) is None

    @rule()
    def clear(self):
        self.shelf.clear()
        self.put_last.clear()

        assert len(self.shelf) == 0

    @invariant()
    def bounded(self):
        assert len(self.shelf) <= 5
        assert len(self.here()) == len(self.shelf)

    def here(self) -> set[str]:
        """The kids that are kept, without using them."""
        return self.shelf.kids()


TestShelf = ShelfMachine.TestCase


def test_what_is_used_stays_unpacked():
    """The latest records are in use, the others packed, and none is lost."""
    shelf = Shelf(max_entries=5, max_in_use=2)
    for kid in KIDS[:5]:
        shelf.put(make_record(kid=kid), 1.0)

    assert [shelf.in_use(kid) is not None for kid in KIDS[:5]] == [False, False, False, True, True]
    assert shelf.fetch(KIDS[0]) == (make_record(kid=KIDS[0]), 1.0)
    assert [shelf.in_use(kid) is not None for kid in KIDS[:5]] == [True, False, False, False, True]


def test_the_oldest_makes_room():
    """A full shelf drops a packed record rather than one in use."""
    shelf = Shelf(max_entries=3, max_in_use=2)
    for kid in KIDS[:4]:
        shelf.put(make_record(kid=kid), 1.0)

    assert shelf.kids() == set(KIDS[1:4])
