"""Measure the detectors of anomalies on synthetic keys, and the time of an hour of many keys.

    python -m tests.bench.anomalies [--keys N] [--record] [--write FILE]

Rate: 400 keys, six weeks of hours, for each of SEEDS; a mutant without the profile of day and week
for comparison. Spread: 600 keys, three weeks, for each of SPREAD_SEEDS. Speed: an hour
of N keys, from stored habits to stored habits, without the store. --write makes a file for `authz
usage anomalies --replay` of the keys of the first seed.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from authz.core.times import rfc3339
from authz.core.usage.anomalies.habits import fresh, pack
from authz.core.usage.anomalies.judging import Callers, Hour, judge
from authz.core.usage.anomalies.ports import KeyHour, Round
from authz.core.usage.question import HOUR_MS
from authz.flows.usage.judgement import judged
from authz.process.hot_path import COMPILED, PYTHON, form
from tests.bench.figures import offer_record, record
from tests.support.anomalies import detectors, leaks, rates

SEEDS: Final = (7, 8, 9, 10, 11, 12)
SPREAD_SEEDS: Final = (5,)
KINDS: Final = 500  # different keys in the measurement of the speed
CPU: Final = {PYTHON: "anomalies.cpu", COMPILED: "anomalies.cpu_compiled"}  # names of the figure
BEGIN: Final = 1_767_225_600_000 // HOUR_MS  # 2026-01-01, the first hour of a written file


def rate(detector: Callable) -> dict[str, Any]:
    """Return mean and worst recall and false alarms over the seeds."""
    scores = [rates.score(rates.keys(400, seed), detector) for seed in SEEDS]
    return _summary([(one.recall, one.false_alarms) for one in scores])


def spread() -> dict[str, Any]:
    """Return mean and worst recall and false alarms over the seeds."""
    scores = [leaks.score(leaks.keys(600, seed), detectors.spread) for seed in SPREAD_SEEDS]
    return _summary([(one.recall, one.false_alarms) for one in scores])


def _summary(scores: list[tuple[float, float]]) -> dict[str, Any]:
    recalls, alarms = zip(*scores, strict=True)
    return {
        "recall": round(sum(recalls) / len(recalls), 3),
        "least_recall": round(min(recalls), 3),
        "false_alarms": round(sum(alarms) / len(alarms), 4),
        "most_false_alarms": round(max(alarms), 4),
    }


def speed(number: int) -> dict[str, Any]:
    """Return the processor time of an hour of some keys that have three weeks of history."""
    draw, begin, hours = Random(1), 490_000, 504
    kinds = []
    for one in rates.keys(KINDS, 3):
        habits = fresh(begin)
        few = Callers(draw.randrange(1, 5), has_new=False, gap=None)
        for hour, count in enumerate(one.counts[:hours]):
            judge(habits, begin + hour, Hour(count, count // 50, count // 30, few, few))
        last = one.counts[hours]
        kinds.append((pack(habits), Hour(last, last // 50, last // 30, few, few)))
    rows = [KeyHour(f"{at:016d}", *kinds[at % KINDS]) for at in range(number)]
    done, found = Round(begin + hours), []
    began = time.process_time()
    for row in rows:
        judged(row, done, found)
    seconds = time.process_time() - began
    assert done.keys == number
    return {"keys": number, "us_a_key": round(seconds / number * 1e6, 2), "unusual": len(found)}


def write(file: Path) -> None:
    """Write the hours of the first seed as lines for a replay."""
    with file.open("w", encoding="utf-8") as out:
        for at, one in enumerate(rates.keys(400, SEEDS[0])):
            for hour, count in enumerate(one.counts):
                begins = rfc3339((BEGIN + hour) * HOUR_MS).replace(".000", "")
                line = {"kid": f"{at:016d}", "hour": begins, "requests": count}
                out.write(json.dumps(line) + "\n")


def main() -> None:
    """Print the figures, or write a file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=100_000)
    offer_record(parser)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    if given.write:
        write(given.write)
        return
    found = {
        "rate": rate(detectors.rate),
        "rate without seasons": rate(detectors.rate_without_seasons),
        "spread": spread(),
        "speed": speed(given.keys),
    }
    print(json.dumps(found, indent=1))
    if given.record:
        record(
            {
                "anomalies.rate.recall": 100 * found["rate"]["recall"],
                "anomalies.rate.false": found["rate"]["false_alarms"],
                "anomalies.spread.recall": 100 * found["spread"]["recall"],
                "anomalies.spread.false": found["spread"]["false_alarms"],
                CPU[form()]: found["speed"]["us_a_key"],
            }
        )


if __name__ == "__main__":
    main()
