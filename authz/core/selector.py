"""Selector: the conditions that pick some keys, for lists and for changes of many keys."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from authz.core.kinds import Kind, kind_of, stored_kind
from authz.core.name_patterns import Glob, Search
from authz.core.records import PUBLIC_ENV, KeyRecord, Status


class State(StrEnum):
    """The state of a key at a time: its status, or `expired`."""

    ACTIVE = "active"
    DISABLED = "disabled"
    REVOKED = "revoked"
    EXPIRED = "expired"
    CANARY = "canary"


class Position(NamedTuple):
    """The place of a key in every list of keys: by time, then by kid. It never changes."""

    created_at: int  # milliseconds since the epoch
    kid: str


def is_expired(record: KeyRecord, now: int) -> bool:
    """Return whether a key is over at `now`, in ms since the epoch. False for a revoked key.

    From `expires_at` on it is over.
    """
    return (
        record.status is not Status.REVOKED
        and record.expires_at is not None
        and record.expires_at <= now
    )


def states_of(record: KeyRecord, now: int) -> frozenset[State]:
    """Return the states of a key at `now`, in ms since the epoch.

    An expired key is not active. A disabled key that has expired has both states. A revoked key is
    only revoked.
    """
    if not is_expired(record, now):
        return frozenset({State(record.status.value)})
    return frozenset({State.EXPIRED, State(record.status.value)} - {State.ACTIVE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Conditions on a key. A key is selected if all of them hold; without any, every key is.

    Canary keys are selected only if `states` or `kind` says CANARY.
    An absent condition is None or empty. states: one of these. metadata: all of these pairs.
    search: a part of the name, or of the id of the client, the project or the tenant.
    created_before, expires_before, revoked_before: ms since the epoch; a key that never expires, or
    was not revoked, is not selected by the latter two. unused_since: ms since the epoch; a record
    does not have its latest use, so `matches` does not look at it.
    """

    client_id: str | None = None
    project_id: str | None = None
    tenant_id: str | None = None
    plan: str | None = None
    env: str | None = None
    kind: Kind | None = None
    states: frozenset[State] = frozenset()
    name: Glob | None = None
    search: Search | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_before: int | None = None
    expires_before: int | None = None
    revoked_before: int | None = None
    unused_since: int | None = None

    @property
    def is_empty(self) -> bool:
        """True without a condition: every key but the canary keys is selected."""
        return self == Selector()

    def matches(self, record: KeyRecord, now: int) -> bool:
        """Return whether the key is selected at `now`, in ms since the epoch.

        `unused_since` does not count.
        """
        return (
            all(getattr(self, name) in {None, getattr(record, name)} for name in _TEXTS)
            and self.kind in {None, kind_of(record)}
            and self._fits_state(record, now)
            and (self.name is None or self.name.matches(record.name))
            and (
                self.search is None
                or self.search.matches(*(getattr(record, name) for name in _SEARCHED))
            )
            and all(record.metadata.get(name) == text for name, text in self.metadata.items())
            and (self.created_before is None or record.created_at < self.created_before)
            and _is_before(record.expires_at, self.expires_before)
            and _is_before(record.revoked_at, self.revoked_before)
        )

    def _fits_state(self, record: KeyRecord, now: int) -> bool:
        usual = frozenset(State) if self.kind is Kind.CANARY else _WITHOUT_CANARIES
        return bool((self.states or usual) & states_of(record, now))


_WITHOUT_CANARIES: Final = frozenset(State) - {State.CANARY}
_TEXTS: Final = ("client_id", "project_id", "tenant_id", "plan", "env")
_SEARCHED: Final = ("name", "client_id", "project_id", "tenant_id")
_Test = Callable[[Sequence[str | None]], bool]


class Screen:
    """A part of a selector that few fields decide, so that most records need not be read.

    fields: the record fields to read, as texts of the store; one may come twice. Without any, every
    record is read. now: ms since the epoch.
    """

    def __init__(self, selector: Selector, now: int) -> None:
        self.fields: tuple[str, ...] = ()
        self._tests: list[_Test] = []
        for name in _TEXTS[1:]:  # the index of a client decides about client_id
            if (text := getattr(selector, name)) is not None:
                fits = {text, PUBLIC_ENV + text} if name == "env" else {text}
                self._add(name, fits.__contains__)
        if selector.name is not None:
            self._add("name", selector.name.matches)
        if selector.kind is not None:
            self._add_kind(selector.kind)
        if selector.search is not None:
            self._add_search(selector.search)
        if selector.expires_before is not None:
            self._add("expires_at", _earlier_than(selector.expires_before))
        if selector.revoked_before is not None:
            self._add("revoked_at", _earlier_than(selector.revoked_before))
        if selector.states:
            self._add("status", frozenset(_stored(selector.states)).__contains__)
            if State.EXPIRED in selector.states and len(selector.states) == 1:
                self._add("expires_at", _earlier_than(now + 1))

    def passes(self, row: Sequence[str | None]) -> bool:
        """Return False if a key with these values of `fields` is certainly not selected, else True.

        A value of None passes, so that the record is read and its fault is found.
        """
        return all(test(row) for test in self._tests)

    def _add_search(self, search: Search) -> None:
        start = len(self.fields)
        self.fields += _SEARCHED

        def test(row: Sequence[str | None]) -> bool:
            values = row[start : start + len(_SEARCHED)]
            return None in values or search.matches(*(value or "" for value in values))

        self._tests.append(test)

    def _add_kind(self, kind: Kind) -> None:
        start = len(self.fields)
        self.fields += ("env", "status")

        def test(row: Sequence[str | None]) -> bool:
            env, status = row[start : start + 2]
            return env is None or status is None or stored_kind(env, status) is kind

        self._tests.append(test)

    def _add(self, name: str, fits: Callable[[str], bool]) -> None:
        place = len(self.fields)
        self.fields += (name,)

        def test(row: Sequence[str | None]) -> bool:
            value = row[place]
            return value is None or fits(value)

        self._tests.append(test)


def _is_before(time: int | None, end: int | None) -> bool:
    return end is None or (time is not None and time < end)


def _stored(states: frozenset[State]) -> Iterator[str]:
    """Yield the stored statuses that keys in these states may have."""
    yield from (state.value for state in states if state is not State.EXPIRED)
    if State.EXPIRED in states:
        yield from (Status.ACTIVE.value, Status.DISABLED.value)


def _earlier_than(end: int) -> Callable[[str], bool]:
    """Return a test: is a stored time before `end` (ms)? Not if it is empty; yes if garbled."""

    def test(text: str) -> bool:
        return bool(text) and not (text.isascii() and text.isdecimal() and int(text[:20]) >= end)

    return test
