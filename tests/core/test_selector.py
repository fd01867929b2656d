"""Selectors: patterns for names, states of keys, and the screen that saves reading."""

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.kinds import Kind
from authz.core.name_patterns import Glob, Search
from authz.core.records import Status
from authz.core.selector import Screen, Selector, State, states_of
from authz.storage import encoding
from tests.linear.growth import is_linear
from tests.support.fakes import DAY, NOW, make_record
from tests.support.storage.strategies import RECORDS

PATTERNS = st.text("ab*?", min_size=1, max_size=9)
RECORD = make_record(
    name="shop-69",
    project_id="p1",
    tenant_id="t1",
    plan="pro",
    metadata={"team": "web", "tier": "1"},
    expires_at=NOW + DAY,
)


@given(pattern=PATTERNS, name=st.text("abc", max_size=12))
def test_a_pattern_matches_as_in_a_shell(pattern, name):
    """A pattern of letters, `*` and `?` matches the names that fnmatch matches."""
    wanted = re.fullmatch(fnmatch.translate(pattern), name) is not None
    assert Glob.parse("--name", pattern).matches(name) is wanted


@pytest.mark.parametrize(
    ("pattern", "repeated"), [("*a" * 100 + "*b", "a"), ("*a?a?b*a?c*", "a"), ("*aab*", "aa")]
)
def test_a_match_is_linear(pattern, repeated):
    """A near miss that is ten times as long costs at most twelve times as much."""
    glob = Glob(pattern)
    assert is_linear(glob.matches, lambda length: repeated * (length // len(repeated)))


def test_brackets_are_no_pattern():
    """A bracket stands for itself, and case matters."""
    assert Glob("[a]*").matches("[a]b")
    assert not Glob("A*").matches("ab")


@pytest.mark.parametrize("pattern", ["", "a" * 257, "a\n"])
def test_no_pattern(pattern):
    """An empty, long or unprintable pattern is refused with the name of the option."""
    with pytest.raises(BadInput, match=r"--name: .*'shop-\*'"):
        Glob.parse("--name", pattern)


@pytest.mark.parametrize(
    ("status", "expires_at", "wanted"),
    [
        (Status.ACTIVE, None, {State.ACTIVE}),
        (Status.ACTIVE, NOW + 1, {State.ACTIVE}),
        (Status.ACTIVE, NOW, {State.EXPIRED}),
        (Status.DISABLED, NOW, {State.DISABLED, State.EXPIRED}),
        (Status.REVOKED, NOW, {State.REVOKED}),
    ],
)
def test_states(status, expires_at, wanted):
    """An expired key is not active, and a revoked one stays revoked."""
    assert states_of(make_record(status=status, expires_at=expires_at), NOW) == wanted


@pytest.mark.parametrize(
    ("conditions", "other"),
    [
        ({"client_id": "acme-web"}, {"client_id": "acme"}),
        ({"project_id": "p1"}, {"project_id": ""}),
        ({"tenant_id": "t1"}, {"tenant_id": "t2"}),
        ({"plan": "pro"}, {"plan": "free"}),
        ({"plan": ""}, None),
        ({"env": "live"}, {"env": "test"}),
        ({"kind": Kind.SECRET}, {"kind": Kind.PUBLISHABLE}),
        ({"kind": Kind.SECRET}, {"kind": Kind.CANARY}),
        ({"states": frozenset({State.ACTIVE})}, {"states": frozenset({State.EXPIRED})}),
        ({"search": Search("ACME-w")}, {"search": Search("other")}),
        ({"search": Search("T1")}, {"search": Search("pro")}),
        ({"name": Glob("*69*")}, {"name": Glob("69*")}),
        ({"metadata": {"team": "web"}}, {"metadata": {"team": "web", "tier": "2"}}),
        ({"created_before": NOW + 1}, {"created_before": NOW}),
        ({"expires_before": NOW + DAY + 1}, {"expires_before": NOW + DAY}),
    ],
)
def test_each_condition(conditions, other):
    """Each condition selects the key that fits and not one that differs."""
    assert Selector(**conditions).matches(RECORD, NOW) is (other is not None)
    assert other is None or not Selector(**other).matches(RECORD, NOW)


def test_all_conditions_must_hold():
    """One condition that does not hold excludes a key."""
    assert Selector().is_empty
    assert Selector(plan="pro", env="live").matches(RECORD, NOW)
    assert not Selector(plan="pro", env="test").matches(RECORD, NOW)
    never = make_record(expires_at=None)
    assert not Selector(expires_before=NOW + 10 * DAY).matches(never, NOW)


SELECTORS = st.builds(
    Selector,
    project_id=st.sampled_from([None, "", "p"]),
    tenant_id=st.sampled_from([None, "", "t"]),
    plan=st.sampled_from([None, "", "pro"]),
    env=st.sampled_from([None, "live"]),
    kind=st.sampled_from([None, *Kind]),
    states=st.frozensets(st.sampled_from(State), max_size=2),
    name=st.sampled_from([None, Glob("*"), Glob("a*"), Glob("*?")]),
    search=st.sampled_from([None, Search("a"), Search("P")]),
    expires_before=st.none() | st.integers(0, 10**14),
    revoked_before=st.none() | st.integers(0, 10**14),
)


@given(record=RECORDS, selector=SELECTORS, now=st.integers(0, 10**14))
def test_a_screen_keeps_every_selected_key(record, selector, now):
    """A screen passes every key that the selector picks, also when a text is absent."""
    screen = Screen(selector, now)
    stored = encoding.encode(record)
    row = [stored[name] for name in screen.fields]
    assert screen.passes(row) or not selector.matches(record, now)
    assert screen.passes([None] * len(row))


@pytest.mark.parametrize(
    ("selector", "row"),
    [
        (Selector(name=Glob("x*")), ["shop"]),
        (Selector(search=Search("x")), ["shop", "acme", "", "eu"]),
        (Selector(kind=Kind.SECRET), ["public:live", "active"]),
        (Selector(kind=Kind.SECRET), ["live", "canary"]),
        (Selector(kind=Kind.PUBLISHABLE), ["live", "active"]),
        (Selector(kind=Kind.CANARY), ["public:live", "revoked"]),
        (Selector(states=frozenset({State.EXPIRED})), ["active", ""]),
        (Selector(states=frozenset({State.EXPIRED})), ["revoked", "5"]),
        (Selector(expires_before=5), ["5"]),
    ],
)
def test_a_screen_excludes(selector, row):
    """A field that does not fit spares the reading of the record."""
    assert not Screen(selector, NOW).passes(row)


@pytest.mark.parametrize(
    ("status", "public", "kind"),
    [
        (Status.ACTIVE, False, Kind.SECRET),
        (Status.REVOKED, False, Kind.SECRET),
        (Status.ACTIVE, True, Kind.PUBLISHABLE),
        (Status.CANARY, False, Kind.CANARY),
        (Status.CANARY, True, Kind.CANARY),
    ],
)
def test_each_key_has_one_kind(status, public, kind):
    """A key is found by its kind alone; a canary key also without a condition on the state."""
    record = make_record(status=status, public=public)

    assert [one for one in Kind if Selector(kind=one).matches(record, NOW)] == [kind]


@pytest.mark.parametrize("env", ["live", "test"])
def test_a_screen_finds_publishable_keys_by_their_environment(env):
    """The store has another word for the environment of a publishable key."""
    record = make_record(env=env, public=True, plan="web", allowed_origins=("https://a.net",))
    other = "test" if env == "live" else "live"
    for selector, expected in ((Selector(env=env), True), (Selector(env=other), False)):
        screen = Screen(selector, NOW)
        stored = encoding.encode(record)
        assert screen.passes([stored[name] for name in screen.fields]) is expected


def test_a_garbled_time_passes_a_screen():
    """A time that cannot be read does not exclude a key, so that its fault is found."""
    assert Screen(Selector(expires_before=5), NOW).passes(["soon"])
