"""Whatever a client does, the connection holds: a little of what `make fuzz` does for longer."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.h2.torture import torture

CORPUS = sorted((Path(__file__).parents[2] / "vectors" / "h2_corpus").iterdir())


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_what_the_fuzzer_begins_with_is_borne(file):
    """Each kind of thing that a client can do, and what once was a bug."""
    torture(file.read_bytes())


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([file.read_bytes() for file in CORPUS]), max_size=4).map(b"".join),
    st.integers(0, 1000),
    st.binary(max_size=300),
)
def test_what_nobody_thought_of_is_borne(known, at, made_up):
    """Known inputs with something else in the middle, and what comes behind it read anew."""
    torture(known[:at] + made_up + known[at:])
