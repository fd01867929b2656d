"""Sighting: a fact about a key that a sidecar saw, for the audit trail and receivers of events.

A sidecar may not write the audit trail. It hands its sightings to administration, in the store.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from authz.core.audit import Action, AuditEvent
from authz.core.keys.text import KID_PATTERN
from authz.core.trail.erasures import KEY
from authz.core.usage.callers import network

ACTIONS: Final = frozenset({Action.CANARY, Action.BUDGET})
MAX_OPEN: Final = 100  # different ones at a time
MAX_BUDGETS: Final = 10_000  # that wait
MAX_TAKEN: Final = 100  # of these at once: a link takes 10,000 commands, heartbeats among them
PAUSE_MS: Final = 60_000
_DIGITS: Final = 15
_FIELDS: Final = ("action", "kid", "network", "at", "uses")
# Of a budget: the name of the limit, the percentage, and the end of the period in ms, 0 for none.
_ABOUT: Final = re.compile(
    r"((?:project:|tenant:)?[a-z][a-z0-9._-]{0,31}) (80|100) (0|[1-9][0-9]{0,14})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One fact. at: ms since the epoch. uses: how often it was seen.

    network: of the caller; empty if unknown. about: of a budget, such as
    `usd-month 80 1772323200000`.
    """

    action: Action
    kid: str
    network: str
    at: int
    uses: int = 1
    about: str = ""

    def fields(self) -> dict[str, str]:
        """Return the sighting as texts for the store."""
        found = {
            "action": self.action.value,
            "kid": self.kid,
            "network": self.network,
            "at": str(self.at),
            "uses": str(self.uses),
        }
        return found | {"about": self.about} if self.about else found

    def event(self, actor: str, now: int) -> AuditEvent:
        """Return the entry of the audit trail. actor: its writer. now: ms since the epoch."""
        detail: dict[str, object] = {KEY: self.kid, "seen_at": self.at}
        if self.action is Action.BUDGET:
            name, percent, ends_at = self.about.split(" ")
            detail |= {"budget": name, "percent": int(percent), "ends_at": int(ends_at)}
        else:
            detail |= {"network": self.network, "uses": self.uses}
        return AuditEvent(self.action, actor, "", now, detail)


def sighting(found: Mapping[str, str]) -> Sighting | None:
    """Return the sighting of these texts, or None if one of them is not as `fields` writes it."""
    try:
        action, kid, where, at, uses = (found[name] for name in _FIELDS)
    except KeyError:
        return None
    if action not in ACTIONS or not KID_PATTERN.fullmatch(kid):
        return None
    about = found.get("about", "")
    if not (_ABOUT.fullmatch(about) if action == Action.BUDGET.value else not about):
        return None
    if where and network(where.partition("/")[0].encode("ascii", "replace")) != where:
        return None
    if not all(one.isascii() and one.isdecimal() and len(one) <= _DIGITS for one in (at, uses)):
        return None
    return Sighting(Action(action), kid, where, int(at), int(uses), about)


@dataclass(slots=True)
class _Open:
    due: int  # ms
    waiting: Sighting | None = field(default=None)


class Sightings:
    """Collects sightings until they are sent.

    The first one of a key and a network may be sent at once, those of the next minute (PAUSE_MS)
    together. At most MAX_OPEN (100) pairs are told apart; more uses count without their network, of
    at most as many keys. Marks of budgets are due at once, MAX_TAKEN (100) at a time, and at most
    MAX_BUDGETS (10,000) wait.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[Action, str, str], _Open] = {}
        self._budgets: list[Sighting] = []

    def note(self, action: Action, kid: str, address: str, now: int) -> None:
        """Note a use of a key from an address. now: ms since the epoch."""
        self._add(Sighting(action, kid, network(address.encode("ascii", "replace")), now))

    def note_budget(self, kid: str, budget: str, percent: int, ends_ms: int, now: int) -> None:
        """Note that so much of a budget is used. kid: of the key whose request showed it.

        budget: the name of the limit. percent: 80 or 100. ends_ms: of the period, 0 for none.
        """
        one = Sighting(Action.BUDGET, kid, "", now, about=f"{budget} {percent} {ends_ms}")
        self._add_budget(one)

    def take(self, now: int) -> list[Sighting]:
        """Return the sightings that are due, and forget them. now: ms since the epoch."""
        found, self._budgets = self._budgets[:MAX_TAKEN], self._budgets[MAX_TAKEN:]
        if not self._open:
            return found
        for key, entry in list(self._open.items()):
            if now < entry.due and entry.due <= now + PAUSE_MS:  # else the clock went back
                continue
            if entry.waiting is None:
                del self._open[key]
                continue
            found.append(entry.waiting)
            entry.waiting, entry.due = None, now + PAUSE_MS
        return found

    def release(self) -> list[Sighting]:
        """Return all sightings that were not sent, due or not, and forget them."""
        found = [*self._budgets, *(one.waiting for one in self._open.values() if one.waiting)]
        self._budgets, self._open = [], {}
        return found

    def put_back(self, one: Sighting) -> None:
        """Take back a sighting that could not be sent. It is due after the present minute."""
        if one.about:
            self._add_budget(one)
        else:
            self._add(one)

    def _add_budget(self, one: Sighting) -> None:
        if len(self._budgets) < MAX_BUDGETS:
            self._budgets.append(one)

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
