"""The judge: which counts a change of the owner may have lost, and whether the promises held.

The promise (docs/limits.md, docs/usage.md): a new primary has all that each replica had. It may
lack what the old primary counted after that, if it died, was cut off or was pushed aside by
TAKEOVER. A failover in good order and a slot that moves lose nothing.

Times are microseconds since the epoch by the clock of the stores.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from tests.counting.plan import Group
from tests.spending.history import windows

LEASED = 0.02  # of a window: a request on a lease passes up to two buckets after its count


class Acknowledged(NamedTuple):
    """A moment at which every replica of a node had all that it had written. port: of the node."""

    at: int
    port: int


class Fault(NamedTuple):
    """A fault with its times. in_order: the old owner handed its data over, so nothing is lost."""

    name: str
    began: int
    ended: int
    in_order: bool


class Count(NamedTuple):
    """Units that a node said it has counted. key: its number, or for usage that of the partition.

    at: by the clock of the node.
    """

    key: int
    at: int
    port: int
    units: int


class Reigns:
    """The owners of each partition, as far as replicas acknowledged them.

    acknowledged: by partition, in the order of their times. Replicas may follow an old primary for
    a moment after TAKEOVER, so within a fault only those of the owner after it count.
    """

    def __init__(
        self, acknowledged: Mapping[int, Sequence[Acknowledged]], faults: Sequence[Fault]
    ) -> None:
        self._in_order = [fault for fault in faults if fault.in_order]
        self._acknowledged = {at: list(found) for at, found in acknowledged.items()}
        for fault in faults:
            if not fault.in_order:
                for partition, found in self._acknowledged.items():
                    self._acknowledged[partition] = _without_former_owner(found, fault)

    def may_lack(self, partition: int, at: int, port: int) -> bool:
        """Return whether later owners may lack what a node counted at this moment."""
        found = self._acknowledged[partition]
        following = bisect_left(found, at, key=lambda one: one.at)
        if following == len(found) or found[following].port == port:
            return False
        taken_over = found[following].at
        return not any(fault.began <= taken_over and at <= fault.ended for fault in self._in_order)


def _without_former_owner(found: list[Acknowledged], fault: Fault) -> list[Acknowledged]:
    after = bisect_left(found, fault.ended, key=lambda one: one.at)
    if after == len(found):
        return found
    owner = found[after].port
    return [one for one in found if not fault.began <= one.at <= fault.ended or one.port == owner]


@dataclass(slots=True)
class Verdict:
    """The result for one kind of sidecar or meter.

    excused: units that a limit was exceeded by, or missing entries, within what a change of the
    owner may have lost. most: the largest part of each limit that was used in a window.
    """

    violations: list[str] = field(default_factory=list)
    excused: int = 0
    lost: int = 0
    counted: int = 0
    most: dict[str, float] = field(default_factory=dict)


def judge_limits(
    groups: Iterable[Group],
    admissions: Mapping[int, Sequence[tuple[int, int]]],
    lost: Sequence[Count],
) -> Verdict:
    """Judge that no window holds more than its limit and the lost counts of that window.

    admissions: by key, as of tests/spending/history.py. lost: counts of requests.
    """
    verdict = Verdict(lost=sum(one.units for one in lost))
    verdict.counted = sum(map(len, admissions.values()))
    for group in groups:
        found = [one for key in group.keys for one in admissions.get(key, ())]
        own = sorted((one.at, one.units) for one in lost if one.key in group.keys)
        times, sums = [at for at, _ in own], [0, *accumulate(units for _, units in own)]
        limit, window = group.rate.limit, round(group.rate.seconds * 1e6)
        over, most = 0, 0
        for end, number in windows(found, window):
            most = max(most, number)
            if number > limit:
                begin = end - round(window * (1 + LEASED))
                allowed = (
                    limit + sums[bisect_left(times, end + 1)] - sums[bisect_left(times, begin)]
                )
                over = max(over, number - allowed)
                verdict.excused = max(verdict.excused, min(number, allowed) - limit)
        verdict.most[group.name] = most / limit
        if over:
            verdict.violations.append(f"{group.name}: {over} requests too many, {most} in a window")
    return verdict


class Usage(NamedTuple):
    """The entries of one partition. missing: as the store names them by their charge ids."""

    sent: int
    counted: int
    missing: int


def judge_usage(found: Mapping[int, Usage], lost: Sequence[Count]) -> Verdict:
    """Judge that each entry is counted once, or is named as missing and may be lost."""
    excusable = Counter[int]()
    for one in lost:
        excusable[one.key] += one.units
    verdict = Verdict(lost=excusable.total())
    for partition, usage in found.items():
        verdict.counted += usage.counted
        verdict.excused += usage.missing
        where = f"partition {partition}: of {usage.sent} entries {usage.counted} are counted"
        if usage.counted + usage.missing != usage.sent:
            verdict.violations.append(f"{where}, and {usage.missing} are named as missing")
        if usage.sent - usage.counted > excusable[partition]:
            may = excusable[partition]
            verdict.violations.append(f"{where}, and a change of the owner may have lost {may}")
    return verdict
