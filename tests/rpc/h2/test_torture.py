"""The connection survives every input of the fuzzer's seeds: a short `make fuzz`."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.h2.torture import torture

CORPUS = sorted((Path(__file__).parents[2] / "vectors" / "h2_corpus").iterdir())


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_the_fuzzers_seeds_are_survived(file):
    """The seeds cover each action of a client, and former bugs."""
    torture(file.read_bytes())


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([file.read_bytes() for file in CORPUS]), max_size=4).map(b"".join),
    st.integers(0, 1000),
    st.binary(max_size=300),
)
def test_spoiled_seeds_are_survived(known, at, made_up):
    """Seeds with other bytes in the middle shift the meaning of the rest."""
    torture(known[:at] + made_up + known[at:])
