"""What a metric is: a name, a unit, a meaning, and all of its series. The metrics: catalogue.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final

Labels = Mapping[str, str]


class Kind(StrEnum):
    """What kind of number it is."""

    COUNTER = "counter"  # only grows
    UP_DOWN = "up_down"  # a count that can shrink; adds up over sidecars
    GAUGE = "gauge"  # does not add up
    HISTOGRAM = "histogram"


_SUFFIXES: Final = {"s": "_seconds", "By": "_bytes"}
_PARTS: Final = {
    Kind.COUNTER: ("_total",),
    Kind.UP_DOWN: ("",),
    Kind.GAUGE: ("",),
    Kind.HISTOGRAM: ("_bucket", "_sum", "_count"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric. `bounds`: the upper bounds of a histogram's steps, in its unit.

    series: the labels of each series that it has; a single one without labels when not given.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    series: tuple[Labels, ...] = ({},)
    bounds: tuple[float, ...] = ()

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Each label and all that it may say, in order."""
        values: dict[str, dict[str, None]] = {}
        for one in self.series:
            for label, value in one.items():
                values.setdefault(label, {})[value] = None
        return {label: tuple(found) for label, found in values.items()}

    @property
    def prometheus(self) -> str:
        """What Prometheus calls it, but for what it adds to name a part of it; see `samples`."""
        return self.name.replace(".", "_") + _SUFFIXES.get(self.unit, "")

    @property
    def samples(self) -> tuple[str, ...]:
        """Prometheus' names of its samples: what a query has to say."""
        return tuple(self.prometheus + part for part in _PARTS[self.kind])

    @property
    def prometheus_labels(self) -> dict[str, tuple[str, ...]]:
        """Prometheus' names of its labels, and what they may say; of buckets also `le`."""
        found = {label.replace(".", "_"): values for label, values in self.labels.items()}
        if self.kind is Kind.HISTOGRAM:
            found["le"] = (*(str(bound) for bound in self.bounds), "+Inf")
        return found


def each(**labels: tuple[str, ...]) -> tuple[Labels, ...]:
    """A series for each combination. An underscore in a name is a dot."""
    names = [name.replace("_", ".") for name in labels]
    return tuple(dict(zip(names, values, strict=True)) for values in product(*labels.values()))
