"""A commit: the sums of some batches, as plain values for the store."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from authz.core.budgets.learned import Learning
from authz.core.limits.key_limits import LimitGroup

KEPT_DENIALS: Final = 20  # of each key, the latest ones

Row = list[int]
"""Numbers by the position of their Field; zeros at the end may be missing."""


@dataclass(slots=True)
class Sight:
    """The latest use of a key or a secret. at: seconds since the epoch.

    network, agent: as `network` and `agent_family` of callers.py return them.
    """

    at: int
    network: str
    agent: str


class Denial(NamedTuple):
    """Requests with a key that were denied alike, within a minute.

    at: the end of the latest one, in seconds since the epoch. route: its label, "" without one.
    code: as in a Status. network: of the latest one, "" if it is unknown or erased. method: of the
    latest one, "" if it is unknown. requests: how many they are.
    """

    at: int
    reason: str
    route: str
    code: str
    network: str
    method: str
    requests: int


@dataclass(slots=True)
class KeyUsage:
    """The part of a commit that belongs to one key. Minutes and days are counted since the epoch.

    about: as in an Identity, from the newest entry that has it. about_minute: minute of that entry.
    rows: counts by minute and route ("" without a label). denials: counts by minute and reason.
    latest: the latest use. secrets: by secret id, its latest use and the number of requests.
    networks, agents: by hour; of user agents the family, of the latest request of each minute.
    latest_denials: in any order, also more than KEPT_DENIALS.
    """

    about: str = ""
    about_minute: int = 0
    rows: dict[tuple[int, str], Row] = field(default_factory=dict)
    denials: dict[tuple[int, str], int] = field(default_factory=dict)
    latest: Sight | None = None
    secrets: dict[str, tuple[Sight, int]] = field(default_factory=dict)
    networks: dict[int, set[str]] = field(default_factory=dict)
    agents: dict[int, set[str]] = field(default_factory=dict)
    latest_denials: list[Denial] = field(default_factory=list)


class Budget(NamedTuple):
    """A budget in one of its periods. group: without its limits. ends_ms: since the epoch."""

    group: LimitGroup
    ends_ms: int
    counter: str


class Settlement(NamedTuple):
    """The sums of some requests: what they really used, and what had been taken for them."""

    used: int
    taken: int

    def __add__(self, other: object) -> "Settlement":
        """Return the sums of both. Raises TypeError if `other` is not a Settlement."""
        if not isinstance(other, Settlement):
            return NotImplemented
        return Settlement(self.used + other.used, self.taken + other.taken)


class OnceUse(NamedTuple):
    """A budget of a request that is charged once. name: of the request. at: the budget's index."""

    name: str
    at: int


@dataclass(slots=True)
class Commit:
    """The sums of some batches. Minutes are counted since the epoch.

    keys: by kid. totals: by minute, route and code, over all requests with and without a key.
    denials: by minute and reason, of requests without a key. seen: by process and block of charge
    ids, how many entries came. highest: the highest charge id of each process, as a number.
    misdated: how many requests ended too far from the store's time; of the other counts only
    `seen`, `highest` and `entries` have them. entries: all ended requests of the batches. repeated:
    by process, entries of batches that were counted before, and are left out here. until_ms: the
    time of the store from which on nothing may be added, because its oldest minute is closed then;
    0: none. models: counts by kid ("" for all requests), day and model of the price table.
    settlements: by budget; `used` minus `taken` is added to its counter. estimated,
    implausible: as in TokenUse. once: settlements of requests that are charged once, in which all
    attempts of a request together cost the most that one of them used. learned: real use by label
    of a route and model.
    """

    keys: dict[str, KeyUsage] = field(default_factory=dict)
    totals: dict[tuple[int, str, str], Row] = field(default_factory=dict)
    denials: dict[tuple[int, str], int] = field(default_factory=dict)
    seen: dict[str, dict[int, int]] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    misdated: int = 0
    entries: int = 0
    until_ms: int = 0
    settlements: dict[Budget, Settlement] = field(default_factory=dict)
    models: dict[tuple[str, int, str], Row] = field(default_factory=dict)
    once: list[tuple[OnceUse, Budget, Settlement]] = field(default_factory=list)
    estimated: int = 0
    implausible: int = 0
    learned: dict[tuple[str, str], Learning] = field(default_factory=dict)
