"""The metrics of several processes as one page, each series with a label `process`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

LABEL: Final = "process"


def merged(pages: Mapping[str, str], accept: str) -> tuple[bytes, str]:
    """Return the metrics of all pages in the format that an Accept header asks for, and its type.

    pages: by the value of the label `process`, in the Prometheus text format. Each name
    stands once, with the series of all pages. Raises ValueError if a page is not in that format.
    """
    registry = CollectorRegistry()
    registry.register(_Pages(pages))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Pages(Collector):
    def __init__(self, pages: Mapping[str, str]) -> None:
        self._pages = pages

    def describe(self) -> Iterable[Metric]:
        return ()  # the registry would collect once more to find the names

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for process, page in self._pages.items():
            for found in text_string_to_metric_families(page):
                family = families.setdefault(
                    found.name, Metric(found.name, found.documentation, found.type)
                )
                for sample in found.samples:
                    labels = sample.labels | {LABEL: process}
                    family.add_sample(sample.name, labels, sample.value)
        return iter(families.values())
