"""Explanations of late answers: those without the store although it was within reach."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.checker import Late
from tests.chaos.process import SidecarProcess

BEFORE = 25.0  # seconds before the end of the outage: about as long as a fault
AFTER = 1.0  # seconds after the last late answer
LINES = 60  # of each kind


def explained(
    sidecar: SidecarProcess, late: Sequence[Late], events: Sequence[tuple[float, str]]
) -> Iterator[str]:
    """Yield the steps of the faults and the sidecar's log, around the late answers of each outage.

    events: steps of faults and findings of the judge, with their times. All times in the text are
    seconds after the end of the outage.
    """
    outages: defaultdict[tuple[float, int], list[Late]] = defaultdict(list)
    for one in late:
        outages[one.ended, one.key.partition].append(one)
    log = list(_lines(sidecar.log.read_text(errors="replace")))
    for (ended, partition), found in sorted(outages.items()):
        tokens = sum(one.key.is_token for one in found)
        sent = [one.sent - ended for one in found]
        yield (
            f"{sidecar.name}, partition {partition}: {len(found)} late answers, {tokens} of them "
            f"to tokens, {min(sent):.3f} to {max(sent):.3f} s after an outage"
        )
        last = max(one.sent for one in found) + AFTER
        for title, lines in (("store", events), ("sidecar", log)):
            near = [(at, text) for at, text in lines if ended - BEFORE <= at <= last]
            yield from (f"  {title} {at - ended:+.3f} {text}" for at, text in near[-LINES:])


def by_fault(
    returns: Mapping[float, float], faults: Sequence[tuple[float, str]]
) -> Iterator[tuple[str, float]]:
    """Yield for each outage the fault that began last before its end, and the time of its return.

    returns: see Verdict. faults: with the times at which they began, in order.
    """
    for ended, seconds in returns.items():
        before = [fault for began, fault in faults if began <= ended]
        if before:
            yield before[-1], seconds


def _lines(log: str) -> Iterator[tuple[float, str]]:
    for line in log.splitlines():
        at, _, text = line.partition(" ")
        try:
            yield float(at), text
        except ValueError:  # of a traceback
            continue
