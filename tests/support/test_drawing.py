"""Hypothesis beside threads of other tests."""

import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module", autouse=True)
def _random_pauses():
    """A thread that draws from the shared generator, as exporters do for their pauses."""
    ended = threading.Event()

    def draw():
        while not ended.wait(0.0001):
            random.random()

    thread = threading.Thread(target=draw)
    thread.start()
    yield
    ended.set()
    thread.join()


@given(st.lists(st.tuples(st.integers(), st.text()), min_size=5))
def test_a_thread_that_draws_is_no_fault_of_a_strategy(found):
    """The examples are made all the same."""
    assert len(found) >= 5
