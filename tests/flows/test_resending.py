"""Sending a change until the store has confirmed it."""

from collections import deque

import pytest

from authz.core.errors import OutcomeUnknown, Unavailable
from authz.flows import resending
from authz.flows.resending import until_confirmed


class Store:
    """A store that loses or refuses the first replies, and the pauses between the tries."""

    def __init__(self, *faults):
        self.faults = deque(faults)
        self.pauses = []
        self.tries = 0

    async def send(self):
        """Return the number of the try, or raise the next fault."""
        self.tries += 1
        if self.faults:
            raise self.faults.popleft()
        return self.tries

    async def sleep(self, seconds):
        """Record a pause."""
        self.pauses.append(seconds)


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_lost_replies(lost):
    """The change is sent again after each lost reply, with a pause before each further try."""
    store = Store(*[OutcomeUnknown("lost")] * lost)

    assert await until_confirmed(store.send, sleep=store.sleep) == lost + 1
    assert store.pauses == [resending.PAUSE] * lost


@pytest.mark.parametrize("later", [OutcomeUnknown("lost"), Unavailable("not sent")])
async def test_an_outcome_that_stays_unknown(later):
    """After three tries the fault says that the outcome is unknown. No pause follows the last."""
    store = Store(OutcomeUnknown("lost"), later, later)

    with pytest.raises(OutcomeUnknown):
        await until_confirmed(store.send, sleep=store.sleep)
    assert (store.tries, store.pauses) == (3, [resending.PAUSE] * 2)


async def test_a_change_that_was_never_sent():
    """If the first try was not sent, nothing happened: the fault is raised at once."""
    store = Store(Unavailable("not connected"))

    with pytest.raises(Unavailable) as fault:
        await until_confirmed(store.send, sleep=store.sleep)
    assert not isinstance(fault.value, OutcomeUnknown)
    assert (store.tries, store.pauses) == (1, [])
