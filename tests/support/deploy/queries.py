"""Metrics, labels and values in PromQL queries."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser

from authz.telemetry.admin_metrics import ANOMALY_METRICS, CALLS
from authz.telemetry.catalogue import METRICS
from authz.telemetry.guard_metrics import GUARD_METRICS
from authz.telemetry.merged_metrics import LABEL
from authz.telemetry.meter_catalogue import METER_METRICS
from tests.support.deploy.rules import RECORDS, ROOT

DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))

# Labels that Prometheus adds to scraped series, and series that it makes itself.
SCRAPED = ("job", "instance")
Labelled = dict[str, dict[str, tuple[str, ...]]]
OWN: Labelled = {
    "up": {},
    "ALERTS": {"alertname": (), "alertstate": ("firing", "pending"), "severity": ()},
}


@dataclass(frozen=True)
class Selector:
    """A metric in a query with its label matchers."""

    metric: str
    wants: tuple[tuple[str, str, str], ...]  # label, operator, value


def selectors(node: Any) -> Iterator[Selector]:
    """Yield the selectors of a query."""
    for part in parts(node):
        if isinstance(part, promql_parser.VectorSelector):
            wants = part.matchers.matchers
            yield Selector(part.name, tuple((m.name, OPERATORS[str(m.op)], m.value) for m in wants))


OPERATORS = {
    f"MatchOp.{name}": sign
    for name, sign in {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}.items()
}


def grouping(node: Any) -> set[str]:
    """Return the labels by which a query groups or joins."""
    found: set[str] = set()
    for part in parts(node):
        modifier = getattr(part, "modifier", None)
        for holder in (modifier, getattr(modifier, "matching", None)):
            for labels in ("labels", "group_labels"):
                found |= set(getattr(holder, labels, None) or ())
    return found


def parts(node: Any) -> Iterator[Any]:
    """Yield a query and every query inside it."""
    yield node
    for one in inner_parts(node):
        yield from parts(one)


def inner_parts(node: Any) -> Iterator[Any]:
    """Yield the direct parts of a query."""
    for name in ("expr", "lhs", "rhs", "args", "vector_selector"):
        inner = getattr(node, name, None)
        yield from (one for one in (inner if isinstance(inner, list) else [inner]) if one)


def parsed(query: str) -> Any:
    """Parse a query, with the variables of Grafana replaced. Raises ValueError."""
    return promql_parser.parse(query.replace("$__rate_interval", "1m").replace("$job", ".+"))


def known() -> Labelled:
    """Return each metric with its labels and their values; an empty tuple means any value."""
    found = dict(OWN)
    for metric in (*METRICS, *METER_METRICS, *ANOMALY_METRICS, *GUARD_METRICS, CALLS):
        for sample in metric.samples:
            labels = dict(metric.prometheus_labels)
            if not sample.endswith("_bucket"):
                labels.pop("le", None)
            found[sample] = labels
    for metric in METRICS:  # a command with several processes tells them apart
        for sample in metric.samples:
            found[sample][LABEL] = ()
    for rule in RECORDS:
        recorded = found.setdefault(rule["record"], {})
        for name, values in kept(parsed(rule["expr"]), found).items():
            recorded[name] = tuple(dict.fromkeys((*recorded.get(name, ()), *values)))
        for name, value in rule.get("labels", {}).items():
            recorded[name] = (*recorded.get(name, ()), value)
    return found


def kept(node: Any, metrics: Labelled) -> dict[str, tuple[str, ...]]:
    """Return the labels of a query's result; for a binary expression those of the left side."""
    if isinstance(node, promql_parser.AggregateExpr):
        inner = kept(node.expr, metrics)
        named = set(node.modifier.labels)
        excludes = "without" in str(node)
        return {name: values for name, values in inner.items() if (name in named) != excludes}
    if isinstance(node, promql_parser.VectorSelector):
        return metrics.get(node.name, {})
    inside = (kept(one, metrics) for one in inner_parts(node))
    return next((labels for labels in inside if labels), {})


def wrong(query: str, legend: str = "") -> list[str]:
    """Return the metrics, labels and values of a query that do not exist."""
    node, metrics, faults = parsed(query), known(), []
    offered = {*SCRAPED}
    for selector in selectors(node):
        labels = metrics.get(selector.metric)
        if labels is None:
            faults.append(f"no metric {selector.metric}")
            continue
        offered |= set(labels)
        for label, sign, value in selector.wants:
            if label in SCRAPED:
                continue
            if label not in labels:
                faults.append(f"{selector.metric} has no label {label}")
            elif labels[label] and not _can_be(value, labels[label], regex="~" in sign):
                faults.append(f"{label} of {selector.metric} is never {value}")
    named = grouping(node) | set(re.findall(r"{{(\w+)}}", legend))
    return [*faults, *(f"no label {name}" for name in sorted(named - offered))]


def _can_be(value: str, values: tuple[str, ...], *, regex: bool) -> bool:
    if value in ("", ".+"):
        return True
    alternatives = value.split("|") if regex else [re.escape(value)]
    return all(any(re.fullmatch(one, known) for known in values) for one in alternatives)


def panel_queries() -> list[tuple[str, str, str]]:
    """Return the place, query and legend of every panel."""
    return [
        (f"{file.stem}: {panel['title']}", target["expr"], target["legendFormat"])
        for file in DASHBOARDS
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
    ]
