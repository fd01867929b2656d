"""Sighting: a fact about a key that a sidecar saw, for the audit trail and receivers of events.

A sidecar may not write the audit trail. It hands its sightings to administration, in the store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from authz.core.audit import Action, AuditEvent
from authz.core.keys.text import KID_PATTERN
from authz.core.trail.erasures import KEY
from authz.core.usage.callers import network

ACTIONS: Final = frozenset({Action.CANARY})
MAX_OPEN: Final = 100  # different ones at a time
PAUSE_MS: Final = 60_000
_DIGITS: Final = 15
_FIELDS: Final = ("action", "kid", "network", "at", "uses")


@dataclass(frozen=True, slots=True)
class Sighting:
    """One fact. at: ms since the epoch. uses: how often it was seen.

    network: of the caller; empty if unknown.
    """

    action: Action
    kid: str
    network: str
    at: int
    uses: int = 1

    def fields(self) -> dict[str, str]:
        """Return the sighting as texts for the store."""
        return {
            "action": self.action.value,
            "kid": self.kid,
            "network": self.network,
            "at": str(self.at),
            "uses": str(self.uses),
        }

    def event(self, actor: str, now: int) -> AuditEvent:
        """Return the entry of the audit trail. actor: its writer. now: ms since the epoch."""
        detail = {KEY: self.kid, "network": self.network, "uses": self.uses, "seen_at": self.at}
        return AuditEvent(self.action, actor, "", now, detail)


def sighting(found: Mapping[str, str]) -> Sighting | None:
    """Return the sighting of these texts, or None if one of them is not as `fields` writes it."""
    try:
        action, kid, where, at, uses = (found[name] for name in _FIELDS)
    except KeyError:
        return None
    if action not in ACTIONS or not KID_PATTERN.fullmatch(kid):
        return None
    if where and network(where.partition("/")[0].encode()) != where:
        return None
    if not all(one.isascii() and one.isdecimal() and len(one) <= _DIGITS for one in (at, uses)):
        return None
    return Sighting(Action(action), kid, where, int(at), int(uses))


@dataclass(slots=True)
class _Open:
    due: int  # ms
    waiting: Sighting | None = field(default=None)


class Sightings:
    """Collects sightings until they are sent.

    The first one of a key and a network may be sent at once, those of the next minute (PAUSE_MS)
    together. At most MAX_OPEN (100) pairs are told apart; more uses count without their network, of
    at most as many keys.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[Action, str, str], _Open] = {}

    def note(self, action: Action, kid: str, address: str, now: int) -> None:
        """Note a use of a key from an address. now: ms since the epoch."""
        self._add(Sighting(action, kid, network(address.encode("ascii", "replace")), now))

    def take(self, now: int) -> list[Sighting]:
        """Return the sightings that are due, and forget them. now: ms since the epoch."""
        if not self._open:
            return []
        found = []
        for key, entry in list(self._open.items()):
            if now < entry.due and entry.due <= now + PAUSE_MS:  # else the clock went back
                continue
            if entry.waiting is None:
                del self._open[key]
                continue
            found.append(entry.waiting)
            entry.waiting, entry.due = None, now + PAUSE_MS
        return found

    def put_back(self, one: Sighting) -> None:
        """Take back a sighting that could not be sent. It is due after the present minute."""
        self._add(one)

    def _add(self, one: Sighting) -> None:
        key = (one.action, one.kid, one.network)
        if key not in self._open and len(self._open) >= MAX_OPEN:
            one = replace(one, network="")
            key = (one.action, one.kid, "")
            if key not in self._open and len(self._open) >= 2 * MAX_OPEN:
                return
        entry = self._open.setdefault(key, _Open(0))
        known = entry.waiting
        entry.waiting = one if known is None else replace(known, uses=known.uses + one.uses)
