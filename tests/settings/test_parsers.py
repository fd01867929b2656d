"""Parsers of settings: plain types, lists, names and sections."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.settings.parsers import AtMost, Between, Refused, parser_of
from authz.settings.sections import Section
from authz.settings.values import File, Several


class Door(Section):
    """A section with a required setting, two that go together, and a list."""

    name: str
    width: Annotated[int, Between(1, 9)] = 1
    words: tuple[Literal["in", "out"], ...] = ()
    inner: "Door | None" = None

    def check_together(self) -> None:
        """Raise ValueError if the name is the one that no door has."""
        if self.name == "none":
            raise ValueError("no door")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, "1_000", 1000),
        (int, " 7 ", 7),
        (int, 5.0, 5),
        (int, 10**400, 10**400),
        (float, 3, 3.0),
        (float, "0.25", 0.25),
        (bool, "Yes", True),
        (bool, "off", False),
        (bool, 0, False),
        (str, "", ""),
        (Literal["a", "b"], "b", "b"),
        (Annotated[int, Between(1)], 1, 1),
        (tuple[int, ...], ["1", 2], (1, 2)),
        (dict[str, int], {"a": "1"}, {"a": 1}),
        (int | None, "1", 1),
        (Several[File], ["a"], (Path("a"),)),
    ],
)
def test_a_value_is_read_by_its_type(kind: Any, value: Any, expected: Any) -> None:
    """Text from the environment is the same as the value of a file."""
    found = parser_of(kind)(value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (int, "1.5", "a whole number, such as 100000"),
        (int, True, "a whole number, such as 100000"),
        (int, "٣", "a whole number, such as 100000"),
        (int, "9" * 5000, "a whole number, such as 100000"),
        (float, "nan", "a number, such as 0.5"),
        (float, "1e999", "a number, such as 0.5"),
        (float, 10**400, "a number, such as 0.5"),
        (float, None, "a number, such as 0.5"),
        (bool, 1.0, "true or false"),
        (bool, "2", "true or false"),
        (str, 5, "text, one line"),
        (Literal["a"], "b", "has to be 'a'"),
        (Literal["a", "b", "c"], [], "has to be 'a', 'b' or 'c'"),
        (Annotated[int, Between(1, 9)], 0, "has to be greater than or equal to 1"),
        (Annotated[int, Between(1, 9)], 10, "has to be less than or equal to 9"),
        (Annotated[tuple[int, ...], AtMost(1)], [1, 2], "has to have at most 1 items, not 2"),
        (Several[int], [], "a list of at least one"),
        (Several[int], [1, 1], "two of them are the same"),
        (tuple[int, ...], "12", 'a list; in the environment as JSON, such as ["x-api-key"]'),
        (dict[str, int], [], "names, each with its value; in the environment as JSON"),
    ],
)
def test_another_value_is_refused(kind: Any, value: Any, problem: str) -> None:
    """The problem says which values are good."""
    with pytest.raises(ValueError, match=r".") as caught:
        parser_of(kind)(value)
    assert str(caught.value) == problem


def test_every_mistake_of_a_section_has_its_place() -> None:
    """A section reports the mistakes of all its settings, and those inside of them."""
    bad = {"width": 0, "words": ["in", "up"], "inner": {"name": None}, "colour": 1}
    with pytest.raises(Refused) as caught:
        Door.parse(bad)
    assert [location for location, _ in caught.value.mistakes] == [
        ("name",), ("width",), ("words", 1), ("inner", "name"), ("colour",)
    ]  # fmt: skip


def test_values_that_do_not_go_together_are_a_mistake_of_their_section() -> None:
    """The check of the whole section runs when each value is right."""
    with pytest.raises(Refused) as caught:
        Door.parse({"name": "a", "inner": {"name": "none"}})
    assert caught.value.mistakes == [(("inner",), "no door")]


def test_a_section_is_a_value() -> None:
    """A section cannot change. It equals another one with the same values, defaults included."""
    door = Door.parse({"name": "a", "width": None})
    assert door == Door(name="a", width=1)
    assert door.changed(width=2) != door
    assert len({door, Door(name="a"), door.changed(width=2)}) == 2
    with pytest.raises(AttributeError):
        door.width = 5  # type: ignore[misc]


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(Door.names), inner),
)


@given(_ANY)
def test_any_value_is_read_or_refused(value: Any) -> None:
    """No value ends a parser with another error than ValueError."""
    for kind in (int, float, bool, str, tuple[int, ...], dict[str, bool], Door):
        with suppress(ValueError):
            parser_of(kind)(value)
