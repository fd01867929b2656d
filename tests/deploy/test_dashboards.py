"""Dashboards and rules query only metrics that a sidecar exports."""

import json
import runpy

import pytest

from tests.support.deploy.queries import DASHBOARDS, known, panel_queries, wrong
from tests.support.deploy.rules import ROOT, RULES

TABLE = ROOT / "deploy" / "grafana" / "dashboards.py"


def test_the_files_are_what_the_table_makes() -> None:
    """The dashboard files are up to date with deploy/grafana/dashboards.py, which writes them."""
    made = runpy.run_path(str(TABLE))["files"]()
    assert {file.name for file in DASHBOARDS} == set(made)
    assert [file.name for file in DASHBOARDS if file.read_text() != made[file.name]] == []


@pytest.mark.parametrize(("where", "query", "legend"), panel_queries())
def test_a_panel_queries_existing_metrics(where: str, query: str, legend: str) -> None:
    """Metrics, labels, values and the labels of the legend exist."""
    assert wrong(query, legend) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert", rule.get("record")))
def test_a_rule_queries_existing_metrics(rule: dict) -> None:
    """Metrics, labels and values of recording rules and alerts exist."""
    assert wrong(rule["expr"]) == []


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("authz_check_total", "no metric authz_check_total"),
        ('authz_checks_total{result="x"}', "authz_checks_total has no label result"),
        ('authz_checks_total{outcome="alowed"}', "outcome of authz_checks_total is never alowed"),
        ('rate(authz_checks_total{reason=~"a|revoked"}[5m])', "reason of"),
        ('authz_check_duration_seconds_bucket{le="1"}', "le of"),
        ("sum by (kid) (authz_checks_total)", "no label kid"),
        ("authz_ready / on (pod) authz_trust_held", "no label pod"),
        ("sum by (process) (authz_meter_entries_total)", "no label process"),
        ('authz:sli_burn:fast{window="1h"}', "authz:sli_burn:fast has no label window"),
        ('authz:sli_burn:slow{sli="latancy"}', "sli of"),
    ],
)
def test_an_unknown_metric_is_found(query: str, fault: str) -> None:
    """Misspelt metrics, labels and values are found anywhere in a query."""
    assert [found for found in wrong(query) if found.startswith(fault)] != []


def test_a_legend_names_labels() -> None:
    """A legend may use only labels of the query's metrics."""
    assert wrong("authz_ready", "{{instance}}") == []
    assert wrong("authz_ready", "{{outcome}}") == ["no label outcome"]


def test_every_metric_is_used() -> None:
    """Each exported metric appears in a panel or a rule."""
    texts = " ".join([query for _, query, _ in panel_queries()] + [rule["expr"] for rule in RULES])
    assert [name for name in known() if name not in texts and not name.endswith("_sum")] == []


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_panels_do_not_overlap(file) -> None:
    """Panels fit the width of a dashboard, do not overlap, and have a title and a source."""
    panels = json.loads(file.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
        assert panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
    assert len({panel["id"] for panel in panels}) == len(panels)
