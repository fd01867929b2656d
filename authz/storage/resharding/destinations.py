"""Destinations: to which partitions each name of the store with one partition goes."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from authz.core.keys.text import KID_PATTERN
from authz.core.partitions import Partitions

FIRST: Final = 0  # the partition with all that belongs to no key


class Kind(IntEnum):
    """A destination that is no number of a partition."""

    EVERYWHERE = -1
    MADE_ANEW = -2  # made from other data, or begins anew
    DIVIDED = -3  # each of its entries is about a key
    UNKNOWN = -4


class Record(NamedTuple):
    """The places of one record: its partition, and the index of its client, if it has one."""

    home: int
    client_id: str


_BY_FIRST_WORD: Final[Mapping[str, int]] = {
    # A tombstone does not say of which key it is. A name of a charge does not, either.
    "gone": Kind.EVERYWHERE,
    "request": FIRST,
    "ended": FIRST,
    "signing": FIRST,
    "issued": FIRST,
    "abuse": FIRST,
    "applied": Kind.DIVIDED,
    **dict.fromkeys(("keys", "client", "imported", "seq", "audit"), Kind.MADE_ANEW),
    **dict.fromkeys(("log", "sidecars", "sidecar", "heartbeat", "restoring"), Kind.MADE_ANEW),
    **dict.fromkeys(("meta", "moved", "resharding", "resharder"), Kind.MADE_ANEW),
}
_OF_EVENTS: Final[Mapping[str, int]] = {
    "lead": Kind.MADE_ANEW,
    "deliveries": Kind.DIVIDED,
    **dict.fromkeys(("sink", "dead", "again", "report", "seen"), FIRST),
    **dict.fromkeys(("leaked", "rotated", "ruled"), FIRST),
}
_OF_USAGE: Final[Mapping[str, int]] = {
    **dict.fromkeys(("all", "sums", "proc", "procs", "judged"), FIRST),
    # Rows have numbers of routes. Each partition has to know a batch that was counted.
    **dict.fromkeys(("routes", "ranked", "learned", "estimates", "seen"), Kind.EVERYWHERE),
    **dict.fromkeys(("last", "top", "odd"), Kind.DIVIDED),
    "judging": Kind.MADE_ANEW,
}


class Destinations:
    """Knows the partition of each key. records, aliases: what is known of them so far.

    records: by kid. aliases: the kid of an imported key, by the digest of its text in hexadecimal.
    """

    def __init__(self, partitions: Partitions) -> None:
        self.partitions = partitions
        self.records: dict[str, Record] = {}
        self.aliases: dict[str, str] = {}

    def home(self, kid: str) -> int:
        """Return the partition of a key. One without a record is where its kid leads."""
        found = self.records.get(kid)
        return self.partitions.of(kid) if found is None else found.home

    def of(self, name: str) -> int:
        """Return the number of a partition, or a Kind.

        name: without its common beginning.
        """
        word, _, rest = name.partition(":")
        if word == "key":
            return self.home(rest)
        if word == "alias":
            kid = self.aliases.get(rest)
            return Kind.UNKNOWN if kid is None else self.home(kid)
        if word == "limit":
            return self._of_limit(rest)
        if word == "events":
            return _OF_EVENTS.get(rest.partition(":")[0], Kind.UNKNOWN)
        if word == "use":
            owner = rest.partition(":")[0]
            if KID_PATTERN.fullmatch(owner):
                return self.home(owner)
            return _OF_USAGE.get(owner, Kind.UNKNOWN)
        return _BY_FIRST_WORD.get(word, Kind.UNKNOWN)

    def _of_limit(self, rest: str) -> int:
        owner, _, group = rest.partition(":")
        if owner == "once":
            return Kind.EVERYWHERE
        if owner == "tenant":
            return self.partitions.home("", "", _id(group))
        if owner == "project":
            tenant, slash, _ = group.partition("/")
            # Without a tenant it is also that with which the pools of all tenants begin.
            return self.partitions.home("", "", _id(tenant)) if slash else Kind.EVERYWHERE
        return self.home(owner) if KID_PATTERN.fullmatch(owner) else Kind.UNKNOWN


def _id(text: str) -> str:
    """Return an id as it was, see LimitGroup.counter_id."""
    return text.replace("%2F", "/")
