"""Composition root of telemetry: readers of all metrics, and their exporters."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from authz import __version__
from authz.core.errors import BadInput
from authz.core.histogram import Histogram
from authz.core.ports import Clock
from authz.settings.model import Settings
from authz.telemetry import catalogue, outcomes
from authz.telemetry.catalogue import LOG_SUPPRESSED, METRICS
from authz.telemetry.counters import Counters
from authz.telemetry.denials import Denials
from authz.telemetry.events import COUNTED
from authz.telemetry.limit_catalogue import LIMIT_LINK
from authz.telemetry.logs import log_throttle
from authz.telemetry.metric import Labels, Metric, Read, Readings
from authz.telemetry.metrics import Metrics, Page, Push
from authz.telemetry.observer import Observer
from authz.wiring.process_metrics import one, process_readings

if TYPE_CHECKING:
    from authz.flows.check import Checker
    from authz.flows.partitioned.check import PartitionedChecker
    from authz.storage.feed import ChangeFeed
    from authz.storage.lag import LagHistogram
    from authz.telemetry.traces import Traces
    from authz.wiring.partition import Partition

Values = Iterable[tuple[Labels, float | Histogram]]


@dataclass(slots=True)
class Parts:
    """The components with metrics that are not counted by events.

    hits_before, lag_before: of partitions that were replaced.
    """

    partitions: "Sequence[Partition]"
    checker: "Checker | PartitionedChecker"
    is_ready: Callable[[], bool]
    hits_before: int = 0
    lag_before: "list[LagHistogram]" = field(default_factory=list)

    @property
    def hits(self) -> int:
        """Checks that found their record in a cache; only grows."""
        return self.hits_before + self.checker.hits

    @property
    def lag(self) -> "list[LagHistogram]":
        """The histograms of how late changes were applied, to be added up."""
        return [*self.lag_before, *(one.feed.lag for one in self.partitions)]

    def replace(
        self, partitions: "Sequence[Partition]", checker: "Checker | PartitionedChecker"
    ) -> None:
        """Read these from now on. Sums go on."""
        self.hits_before, self.lag_before = self.hits, self.lag
        self.partitions, self.checker = partitions, checker


class Telemetry:
    """Telemetry by the settings. It counts from the start, and exports once it has the components.

    Raises BadInput if traces are on and `telemetry.otlp` is missing.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        _refuse_without_receiver(settings)
        self._settings = settings
        self._clock = clock
        self.counters = Counters()
        self.denials = Denials(settings.telemetry.denials_per_second, clock.monotonic)
        self.observer = Observer(self.counters, self.denials, timed=settings.telemetry.metrics)

    @asynccontextmanager
    async def exporting(self, instance: str, parts: Parts) -> AsyncIterator[Page | None]:
        """Export until the block ends. Yield the page of metrics, or None if metrics are off.

        Denial lines are summarised in any case. At the end the exporters send the rest, each for at
        most STOP_SECONDS.
        """
        about = {
            "service.name": "authz",
            "service.version": __version__,
            "service.instance.id": instance,
        }
        summaries = asyncio.create_task(self.denials.run())
        metrics = self._metrics(parts, about) if self._settings.telemetry.metrics else None
        traces = traces_of(self._settings, about, self._clock)
        if traces:
            self.observer.trace(traces)
        try:
            yield metrics.page if metrics else None
        finally:
            summaries.cancel()
            ending = (asyncio.to_thread(each.stop) for each in (metrics, traces) if each)
            await asyncio.gather(*ending)  # each takes at most STOP_SECONDS

    def _metrics(self, parts: Parts, about: Mapping[str, str]) -> Metrics:
        otlp = self._settings.telemetry.otlp
        push = Push(otlp.endpoint, otlp.interval) if otlp else None
        return Metrics(readings(self.counters, self.denials, parts, self._clock), about, push)


def traces_of(settings: Settings, about: Mapping[str, str], clock: Clock) -> "Traces | None":
    """Return the maker of spans, or None if traces are off. about: resource attributes.

    Raises BadInput if traces are on and `telemetry.otlp` is missing.
    """
    _refuse_without_receiver(settings)
    tracing, otlp = settings.telemetry.tracing, settings.telemetry.otlp
    if otlp is None or not tracing.enabled:
        return None
    from authz.telemetry.traces import Traces, exporter  # noqa: PLC0415  imported only if traces are on

    return Traces(
        exporter(otlp.endpoint),
        clock.monotonic,
        about,
        ratio=tracing.sample_ratio,
        rate=tracing.max_per_second,
    )


def _refuse_without_receiver(settings: Settings) -> None:
    if settings.telemetry.tracing.enabled and settings.telemetry.otlp is None:
        problem = "needs telemetry.otlp.endpoint, the receiver of spans"
        raise BadInput("telemetry.tracing.enabled", problem)


def readings(counters: Counters, denials: Denials, parts: Parts, clock: Clock) -> Readings:
    """Return the reader of every metric of the catalogue.

    Each is called at every scrape or export.
    """
    return {
        **{metric: _counted(metric, counters) for metric in METRICS},
        **_checks(counters),
        **_keys(counters, parts),
        **_store(parts, clock),
        LOG_SUPPRESSED: one(lambda: denials.left_out + log_throttle.left_out),
        **process_readings(clock),
    }


def _counted(metric: Metric, counters: Counters) -> Read:
    """Return a reader that sums the events of each series; 0 for a series without events."""
    events = [
        ([event for event, where in COUNTED.items() if where == (metric, labels)], labels)
        for labels in metric.series
    ]
    return lambda: [(labels, sum(counters.events[e] for e in those)) for those, labels in events]


def _checks(counters: Counters) -> Readings:
    def checks() -> Values:
        yield outcomes.ALLOWED, counters.allowed
        for reason, count in counters.denied.items():
            yield outcomes.refused(reason), count

    def would_be_denials() -> Values:
        for reason, count in counters.would_deny.items():
            yield {"reason": reason.value}, count

    def failures() -> Values:
        for reason in outcomes.AUTHENTICATION:
            yield {"reason": reason.value}, counters.denied[reason]

    def durations() -> Values:
        yield {"cache": "hit"}, counters.hit_seconds
        yield {"cache": "miss"}, counters.miss_seconds

    return {
        catalogue.CHECKS: checks,
        catalogue.WOULD_BE_DENIALS: would_be_denials,
        catalogue.AUTHENTICATION_FAILURES: failures,
        catalogue.CHECK_DURATION: durations,
    }


def _keys(counters: Counters, parts: Parts) -> Readings:
    counted = _counted(catalogue.CACHE_LOOKUPS, counters)

    def lookups() -> Values:
        for labels, count in counted():
            yield labels, parts.hits if labels["result"] == "hit" else count

    def entries() -> Values:
        yield {"kind": "record"}, sum(len(one.cache) for one in parts.partitions)
        yield {"kind": "negative"}, sum(one.cache.negatives for one in parts.partitions)

    def durations() -> Values:
        for result, steps in counters.lookup_seconds.items():
            yield {"result": result}, steps

    return {
        catalogue.CACHE_LOOKUPS: lookups,
        catalogue.CACHE_ENTRIES: entries,
        catalogue.LOOKUP_DURATION: durations,
    }


def _store(parts: Parts, clock: Clock) -> Readings:
    began = clock.monotonic()

    def feeds() -> "list[ChangeFeed]":
        return [part.feed for part in parts.partitions]

    def lag() -> Values:
        seconds = Histogram(catalogue.CHANGE_LAG.bounds)
        each = parts.lag
        seconds.counts = [sum(counts) for counts in zip(*(lag.counts for lag in each), strict=True)]
        seconds.sum = sum(lag.sum for lag in each) / 1000
        yield {}, seconds

    def trust_age() -> float:
        ages = [feed.health().trust_age for feed in feeds()]
        return max(clock.monotonic() - began if age is None else age for age in ages)

    def untrusted() -> int:
        return sum(not feed.health().trusted for feed in feeds())

    def grace_left() -> float:
        caches = [part.cache for part in parts.partitions]
        filled = [cache.grace_left for cache in caches if len(cache)]
        return min(filled) if filled else max(cache.grace_left for cache in caches)

    return {
        catalogue.CHANGE_LAG: lag,
        catalogue.ALIAS_INDEX: one(lambda: sum(feed.imported.entries for feed in feeds())),
        catalogue.CHANGE_SEQUENCE: one(lambda: sum(feed.seq or 0 for feed in feeds())),
        catalogue.TRUST: one(lambda: int(not untrusted())),
        catalogue.UNTRUSTED: one(untrusted),
        catalogue.TRUST_AGE: one(trust_age),
        catalogue.CLOCK_OFFSET: one(
            lambda: max((feed.clock_offset or 0.0 for feed in feeds()), key=abs)
        ),
        catalogue.GRACE: one(grace_left),
        catalogue.LINK: one(
            lambda: int(all(feed.link is not None and feed.link.is_open for feed in feeds()))
        ),
        LIMIT_LINK: one(lambda: int(not any(part.spend_link.reason for part in parts.partitions))),
        catalogue.READY: one(lambda: int(parts.is_ready())),
    }
