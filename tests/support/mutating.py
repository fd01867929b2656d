"""Mutants of the product: a function with one place of its source changed."""

import inspect
import sys
import textwrap
from typing import Any

import pytest


def mutate(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, before: str, after: str) -> None:
    """Replace a text in the source of a function until the test ends.

    owner: the module or class of the function. The text must stand in it exactly once.
    """
    function = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(before) == 1, f"{name} does not have {before!r} once"
    found: dict[str, Any] = {}
    names = vars(sys.modules[function.__module__])
    exec(source.replace(before, after), names | {}, found)  # noqa: S102  our own source
    monkeypatch.setattr(owner, name, found[name])
