"""The count of instructions is of the steps of a Check."""

import asyncio

import pytest

from authz.telemetry import Counters
from tests.bench.check_hot import Hot
from tests.bench.instructions import STEPS, counted


@pytest.mark.parametrize("form", ["map", "raw"])
def test_each_step_has_instructions(form: str) -> None:
    """Every step takes part, and its functions add up to it."""
    steps, functions = asyncio.run(counted(Hot(Counters()), form, traced=False))
    assert set(steps) == set(STEPS.values())
    for step, count in steps.items():
        assert sum(of for (name, _), of in functions.items() if name == step) == count
