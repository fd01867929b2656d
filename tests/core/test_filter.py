"""Filters of lists: which texts select which keys, and which are refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.filter import Comparison, comparisons, parse_filter
from authz.core.kinds import Kind
from authz.core.name_patterns import Glob, Search
from authz.core.selector import Selector, State


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("", Selector()),
        (" client_id=acme ", Selector(client_id="acme")),
        ('client_id = "acme" AND tenant_id=north', Selector(client_id="acme", tenant_id="north")),
        ("plan = p AND project_id = w", Selector(plan="p", project_id="w")),
        ("env = live", Selector(env="live")),
        ("env = ENVIRONMENT_TEST", Selector(env="test")),
        ("kind = publishable", Selector(kind=Kind.PUBLISHABLE)),
        ("kind = Canary", Selector(kind=Kind.CANARY)),
        ("status = STATUS_ACTIVE", Selector(states=frozenset({State.ACTIVE}))),
        ("status = expired", Selector(states=frozenset({State.EXPIRED}))),
        ('display_name = "the \\"shop\\" \\\\*"', Selector(name=Glob('the "shop" \\*'))),
        ('search = "The Shop"', Selector(search=Search("The Shop"))),
        ("metadata.a = 1 AND metadata.b.c = 2", Selector(metadata={"a": "1", "b.c": "2"})),
        ("create_time < 1970-01-01T00:00:01Z", Selector(created_before=1000)),
        ("revoke_time < 1970-01-01T00:00:01Z", Selector(revoked_before=1000)),
        ("last_use_time < 1970-01-01T00:00:01Z", Selector(unused_since=1000)),
        ("client_id = a:b", Selector(client_id="a:b")),
        ('create_time < "1970-01-01T00:00:01Z"', Selector(created_before=1000)),
        ('expire_time < "1970-01-01T01:00:00.5+01:00"', Selector(expires_before=500)),
    ],
)
def test_filters(text: str, selector: Selector) -> None:
    """A filter is read as the selector that means the same."""
    assert parse_filter("filter", text) == selector


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("client_id", "comparisons such as"),
        ("client_id =", "comparisons such as"),
        ("client_id acme x", "comparisons such as"),
        ("client_id:acme", "comparisons such as"),
        ("= acme x", "comparisons such as"),
        ('"client_id" = acme', "comparisons such as"),
        ("client_id = acme tenant_id = x", "joined by AND"),
        ("client_id = acme and tenant_id = x", "joined by AND"),
        ("client_id = acme OR tenant_id = x", "joined by AND"),
        ("client_id = acme AND", "comparisons such as"),
        ("(client_id = acme)", "comparisons such as"),
        ("client_id = (acme)", "is no value"),
        ("client_id = AND", "is no value"),
        ('client_id = "acme', "a quote or a backslash"),
        ('client_id = "a\\c"', "a quote or a backslash"),
        ("client_id != acme", "comparisons such as"),
        ("client_id < acme", "goes with ="),
        ('create_time = "1970-01-01T00:00:01Z"', "goes with <"),
        ("client_id = a AND client_id = b", "compared twice"),
        ("metadata.a = 1 AND metadata.a = 2", "compared twice"),
        ("metadata. = 1", "a name is"),
        ("nothing = 1", "is no field"),
        ("env = prod", "one of live, test"),
        ("status = gone", "one of active"),
        ("kind = private", "one of secret, publishable, canary"),
        ('expire_time < "soon"', "is not a time"),
        ("plan = p " * 300, "at most 2048"),
        (" AND ".join(["plan = p"] * 21), "at most 20"),
    ],
)
def test_refusals(text: str, problem: str) -> None:
    """A text that is no filter is refused in one line that names the problem."""
    with pytest.raises(BadInput, match=problem) as caught:
        parse_filter("filter", text)
    assert str(caught.value).isprintable()


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    """Every text gives comparisons or a BadInput, and nothing else."""
    with contextlib.suppress(BadInput):
        parse_filter("filter", text)


VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.lists(st.tuples(st.sampled_from(["a", "metadata.b", "c_d"]), VALUES), max_size=20))
def test_quoted_values_arrive(pairs: list[tuple[str, str]]) -> None:
    """A value in quotes, with its quotes and backslashes escaped, arrives unchanged."""
    text = " AND ".join(
        f'{name} = "{value.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in pairs
    )
    assert comparisons("filter", text) == [Comparison(name, "=", value) for name, value in pairs]
