"""The dashboards fit the models that Grafana publishes.

The models drop unknown fields. A field that is missing after a model has read and written a
dashboard means nothing to Grafana: it is misspelt, or belongs to another kind of panel. The models
accept any text for an enumeration, so the test compares such values with the types.
"""

import json
import typing
from collections.abc import Iterator
from copy import deepcopy
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.support.deploy.queries import DASHBOARDS

register_default_plugins()


def meaningless(document: dict[str, Any]) -> list[str]:
    """Return the paths of fields and values that Grafana does not know."""
    model = Dashboard.from_json(deepcopy(document))
    understood = json.loads(JSONEncoder().encode(model))
    return [*_lost(document, understood, "dashboard"), *_impossible(model, "dashboard")]


def _lost(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            if name in theirs:
                yield from _lost(value, theirs[name], f"{where}.{name}")
            else:
                yield f"{where}.{name}"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from _lost(*pair, f"{where}[{number}]")
    elif ours != theirs:
        yield where


def _impossible(model: Any, where: str) -> Iterator[str]:
    if isinstance(model, list):
        for number, one in enumerate(model):
            yield from _impossible(one, f"{where}[{number}]")
    if isinstance(model, UnknownDataquery):
        yield f"{where}: of no known source"
    if not hasattr(model, "to_json"):
        return
    for name, kind in typing.get_type_hints(type(model)).items():
        value = getattr(model, name)
        yield from _impossible(value, f"{where}.{name}")
        if name == "options" and isinstance(value, dict):
            yield f"{where}: no such panel"
        if value is not None and isinstance(value, str) and not _may_be(value, kind):
            yield f"{where}.{name}"


def _may_be(text: str, kind: Any) -> bool:
    if kind is str or kind is Any or kind is object:
        return True
    if isinstance(kind, type) and issubclass(kind, Enum):
        return text in {one.value for one in kind}
    if typing.get_origin(kind) is typing.Literal:
        return text in typing.get_args(kind)
    return any(_may_be(text, one) for one in typing.get_args(kind))


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_grafana_knows_every_field_of_a_dashboard(file: Path) -> None:
    """Fields of the dashboard, its panels and their options, queries and variables are known."""
    assert meaningless(json.loads(file.read_text())) == []


def replaced(document: dict[str, Any], *path: str | int, by: Any) -> None:
    """Replace the value at a path."""
    *way, last = path
    for step in way:
        document = document[step]
    document[last] = by


@pytest.mark.parametrize(
    ("path", "value", "noticed"),
    [
        (("schemaVersoin",), 39, "dashboard.schemaVersoin"),
        (("time", "until"), "now", "dashboard.time.until"),
        (("templating", "list", 1, "all"), ".+", "dashboard.templating.list[1].all"),
        (("templating", "list", 1, "type"), "querry", "dashboard.templating.list_val[1].type_val"),
        (("panels", 0, "type"), "statt", "dashboard.panels[0]: no such panel"),
        (
            ("panels", 0, "datasource", "type"),
            "prometeus",
            "dashboard.panels[0].targets[0]: of no known source",
        ),
        (("panels", 0, "gridPos", "width"), 3, "dashboard.panels[0].gridPos.width"),
        (("panels", 0, "options", "calcs"), ["last"], "dashboard.panels[0].options.calcs"),
        (("panels", 0, "options", "colorMode"), "nun", "dashboard.panels[0].options.color_mode"),
        (("panels", 0, "targets", 0, "legend"), "x", "dashboard.panels[0].targets[0].legend"),
        (
            ("panels", 0, "targets", 0, "format"),
            "line",
            "dashboard.panels[0].targets[0].format_val",
        ),
    ],
    ids=lambda part: ".".join(map(str, part)) if isinstance(part, tuple) else None,
)
def test_an_unknown_field_is_noticed(path: tuple[str | int, ...], value: Any, noticed: str) -> None:
    """A misspelt name, an unknown value and an option of another panel are reported."""
    document = json.loads(next(file for file in DASHBOARDS if file.stem == "executive").read_text())
    replaced(document, *path, by=value)
    assert meaningless(document) == [noticed]
