"""The examples of docs/examples: typed into a shell, their commands print what the pages show."""

import shutil

import pytest

from tests.support.docs.example import EXAMPLES, Example


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_its_page_shows(name: str) -> None:
    """Each command was reached and printed what stands below it."""
    example = Example.of(name)
    if any("jq" in step.command for step in example.steps) and shutil.which("jq") is None:
        pytest.skip("needs jq: Debian's package jq")
    assert example.options
    found = list(example.play())
    assert [step.command for step, _, _ in found] == [step.command for step in example.steps]
    for step, printed, is_right in found:
        assert is_right, f"$ {step.command}\n--- shown\n{step.shown}\n--- printed\n{printed}"
