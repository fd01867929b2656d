"""The Helm chart without helm: its files are current, and its values fit its schema."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.deploy.chart import CHART, generated
from tests.support.deploy.manifests import K8S, OLDEST
from tests.support.docs import ROOT

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
PAGE = (CHART / "values.yaml").read_text()


def test_the_generated_files_are_current() -> None:
    """Copies and templates are what `make helm` writes, and there are no others beside them."""
    made = dict(generated())
    assert [file for file, text in made.items() if file.read_text() != text] == []
    of_chart = {file for file in made if file.is_relative_to(CHART)}
    folders = {file.parent for file in of_chart}
    assert {file for folder in folders for file in folder.iterdir() if file.is_file()} == of_chart


def test_the_version_is_that_of_the_distribution() -> None:
    """Chart and application have the version of pyproject.toml, and need native sidecars."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (project["version"], project["version"])
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


def test_the_values_fit_the_schema() -> None:
    """The schema is one, and takes the shipped values."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


def keys(node: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the path of each value that has a name in the schema."""
    for name, inner in node.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        yield here
        yield from keys(inner, here)


@pytest.mark.parametrize("path", sorted(set(keys(SCHEMA)) - {"global"}))
def test_each_value_of_the_schema_is_shipped(path: str) -> None:
    """values.yaml has every value, so that a reader finds it there."""
    found: Any = VALUES
    for name in path.split("."):
        found = found[name]


def test_each_value_has_a_comment() -> None:
    """A value of values.yaml is explained in its line, above it, or at the map that holds it."""
    bare, above = [], ""
    for line in PAGE.splitlines():
        if re.match(r" *[\w/]+: .*\S", line) and "#" not in line + above:
            bare.append(line.strip())
        above = line
    unexplained = {
        "requests",
        "limits",
        "authz/monitoring",
    }  # of resources, and of a map with one value
    assert {line.partition(":")[0] for line in bare} <= unexplained


@pytest.mark.parametrize(
    "wrong",
    [
        {"unknown": 1},
        {"gateway": {"replicas": "3"}},
        {"gateway": {"replicas": 0}},
        {"mode": "sidecar"},
        {"backend": {"host": 'b, port_value: 1 } } } } # "'}},
        {"store": {"url": "redis://user:password@host:6379/0"}},
        {"pepper": {"versions": []}},
        {"pepper": {"secret": "Not_A_Name"}},
        {"meter": {"mode": False}},
        {"monitoring": {"prometheusRule": {"runbookPrefix": "javascript:x"}}},
    ],
    ids=str,
)
def test_the_schema_refuses(wrong: dict[str, Any]) -> None:
    """Unknown values, wrong types and texts that would leave their place are refused."""
    (fault,) = jsonschema.Draft7Validator(SCHEMA).iter_errors(wrong)
    assert fault.message


def test_the_images_are_those_of_the_overlays() -> None:
    """Envoy and Valkey have the versions that the overlays run."""
    gateway = (K8S / "base" / "gateway.yaml").read_text()
    valkey = (K8S / "overlays" / "standalone" / "valkey.yaml").read_text()
    assert f"image: {VALUES['gateway']['image']}\n" in gateway
    assert f"image: {VALUES['valkey']['image']}\n" in valkey


def test_the_places_that_the_chart_fills_are_in_envoy_yaml() -> None:
    """Each text that the chart replaces stands in the shipped file once."""
    template = (CHART / "templates" / "_helpers.tpl").read_text()
    places = re.findall(r'\$found \| replace ("(?:[^"\\]|\\.)+")', template)
    places += re.findall(r'\$before := ("(?:[^"\\]|\\.)+")', template)
    envoy = (CHART / "files" / "envoy.yaml").read_text()
    counts = {place: envoy.count(json.loads(place)) for place in places}
    assert len(counts) == 5
    assert set(counts.values()) == {1}
