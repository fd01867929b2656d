"""The type of a metric: name, unit, meaning and series. The metrics are in catalogue.py."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final

from authz.core.histogram import Histogram

Labels = Mapping[str, str]


class Kind(StrEnum):
    """Kind of a metric."""

    COUNTER = "counter"  # only grows
    UP_DOWN = "up_down"  # a count that can shrink; sums up over sidecars
    GAUGE = "gauge"  # does not sum up
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
    """One metric. `bounds`: the upper bounds of a histogram, in its unit.

    series: the labels of each series; by default one series without labels.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    series: tuple[Labels, ...] = ({},)
    bounds: tuple[float, ...] = ()

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The values of each label without duplicates, in the order of the series.

        Empty if the series have no labels.
        """
        values: dict[str, dict[str, None]] = {}
        for one in self.series:
            for label, value in one.items():
                values.setdefault(label, {})[value] = None
        return {label: tuple(found) for label, found in values.items()}

    @property
    def prometheus(self) -> str:
        """The Prometheus name without the suffix of a sample, such as `_total`; see `samples`.

        Seconds add `_seconds`, bytes add `_bytes`.
        """
        return self.name.replace(".", "_") + _SUFFIXES.get(self.unit, "")

    @property
    def samples(self) -> tuple[str, ...]:
        """The Prometheus names of the samples, as queries use them.

        A counter has `_total`; a histogram `_bucket`, `_sum` and `_count`; others have no suffix.
        """
        return tuple(self.prometheus + part for part in _PARTS[self.kind])

    @property
    def prometheus_labels(self) -> dict[str, tuple[str, ...]]:
        """The values of each Prometheus label, including `le` of a histogram (with `+Inf`)."""
        found = {label.replace(".", "_"): values for label, values in self.labels.items()}
        if self.kind is Kind.HISTOGRAM:
            found["le"] = (*(str(bound) for bound in self.bounds), "+Inf")
        return found


Read = Callable[[], Iterable[tuple[Labels, float | Histogram]]]
Readings = Mapping[Metric, Read]
"""The reader of each metric: yields the value of every series, a Histogram for a histogram."""


def each(**labels: tuple[str, ...]) -> tuple[Labels, ...]:
    """Return the labels of one series for each combination.

    An underscore in a name stands for a dot. One series without labels if there are no arguments.
    """
    names = [name.replace("_", ".") for name in labels]
    return tuple(dict(zip(names, values, strict=True)) for values in product(*labels.values()))
