"""Configurations whose fields have values of another type: the doctor and the repair read them."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.proxy.document import parsed
from authz.proxy.repair import repair
from authz.proxy.rules import examine
from tests.support.proxy.report import WITH_ROUTES
from tests.support.proxy.retry_faults import TWO_SIDECARS

USAGE = Path(__file__).parent / "fixtures" / "usage" / "gateway-patched.json"
SHIPPED = [
    parsed(file.read_bytes(), file, "FILE") for file in (TWO_SIDECARS, USAGE)
]  # a bootstrap and a dump
ODD: list[Any] = [None, 0, -1, "", "x", [], [None], ["x"], [[]], {}, {"a": []}, True, 1e400]
ALL = replace(WITH_ROUTES, has_limits=True, has_budgets=True, reads_model=True)


def places(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value inside a document."""
    inner = part.items() if isinstance(part, dict) else enumerate(part)
    for name, value in inner:
        yield (*path, name)
        if isinstance(value, dict | list):
            yield from places(value, (*path, name))


PLACES = [(number, place) for number, one in enumerate(SHIPPED) for place in places(one)]


def spoilt(number: int, place: tuple[Any, ...], value: Any) -> list[Any]:
    """Return a copy of a configuration with another value in one place."""
    documents = copy.deepcopy(SHIPPED[number])
    part: Any = documents
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = copy.deepcopy(value)
    return documents


@given(st.sampled_from(PLACES), st.sampled_from(ODD))
def test_any_value_can_be_read_and_repaired(place: tuple[int, tuple[Any, ...]], value: Any) -> None:
    """A field of another type is a finding at most, and no fault."""
    documents = spoilt(*place, value)
    list(examine(documents, ALL))
    repair(documents, ALL)
    list(examine(documents, ALL))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("service_name", ["x"]),
        ("path", {"prefix": "/"}),
        ("thresholds", 5),
        ("thresholds", [None]),
        ("access_log", "x"),
        ("mutations", 5),
        ("early_header_mutation_extensions", "x"),
        ("patterns", {}),
    ],
)
def test_a_field_that_a_rule_reads_may_have_any_type(name: str, value: Any) -> None:
    """Each place of that name, one after the other."""
    places = [(number, place) for number, place in PLACES if place[-1] == name]
    for number, place in places:
        documents = spoilt(number, place, value)
        list(examine(documents, ALL))
        repair(documents, ALL)
    assert places


def test_a_list_of_filters_may_hold_anything() -> None:
    """Envoy refuses a filter that is no message, so the repair leaves it as it is."""
    number, place = next(one for one in PLACES if one[1][-2:] == ("http_filters", 0))
    documents = spoilt(number, place, 5)
    list(examine(documents, ALL))
    repair(documents, ALL)
    part: Any = documents
    for name in place[:-1]:
        part = part[name]
    assert 5 in part
