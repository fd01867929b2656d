"""The rule about the LLM filter, and the commands that print and repair it."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.cli import devconfig
from authz.cli.devstack import Ports, envoy_config
from authz.cli.doctor import expected_of
from authz.core.finding import Level
from authz.core.listen_address import Address
from authz.proxy.llm import NAME, PER_ROUTE, SOURCE, llm_filter
from authz.proxy.repair import repair
from authz.proxy.rules import examine
from authz.proxy.snippet import snippet
from authz.settings import model
from tests.support.proxy.envoys import validate
from tests.support.proxy.faults import Config
from tests.support.proxy.report import DEFAULTS, problems

BY_MODEL = replace(DEFAULTS, reads_model=True)
SIDECAR = Address.parse("", "127.0.0.1:9191")


def right() -> Config:
    """Return envoy.yaml with the filter, on at its last route."""
    config = Config()
    config.manager["http_filters"].insert(0, llm_filter())
    config.filter["metadata_context_namespaces"] = ["authz.request"]
    config.routes[-1].update(copy.deepcopy(PER_ROUTE))
    return config


def found(config: Config, expected: Any = BY_MODEL) -> list[tuple[Level, str]]:
    """Return level and text of the problems of this rule alone."""
    report = [one for one in problems([config.whole], expected) if one.check == "llm"]
    return [(one.level, one.found.partition(": ")[2]) for one in report]


def test_the_filter_before_ext_authz_is_right():
    """The filter is on at a route, and ext_authz passes the model on."""
    assert found(right()) == []
    assert found(right(), DEFAULTS) == []


def test_without_routes_of_llms_no_filter_is_needed():
    """The report says that there is no filter, and that is no problem."""
    assert found(Config(), DEFAULTS) == []
    said = [one for one in examine([Config().whole], DEFAULTS) if one.check == "llm"]
    assert [(one.level, "no filter" in one.found) for one in said] == [(Level.OK, True)]


def missing(config: Config) -> None:
    """No filter reads the model of a body"""
    del config.manager["http_filters"][0]


def late(config: Config) -> None:
    """stands after ext_authz"""
    filters = config.manager["http_filters"]
    filters.insert(1, filters.pop(0))


def unseen(config: Config) -> None:
    """authz is not shown the model"""
    del config.filter["metadata_context_namespaces"]


@pytest.mark.parametrize("fault", [missing, late, unseen])
def test_a_fault_that_hides_the_model_is_a_failure_if_routes_need_it(fault):
    """Nobody without a wildcard gets in. Without such routes it is a warning or nothing."""
    config = right()
    fault(config)
    ((level, text),) = found(config)
    assert level is Level.FAIL
    assert (fault.__doc__ or "?").lower() in text
    other = found(config, DEFAULTS)
    assert [level for level, _ in other] == ([] if fault is missing else [Level.WARN])


def test_budgets_without_a_filter_are_a_warning():
    """Every estimate stays reserved then. The repair adds the filter."""
    config, expected = Config(), replace(DEFAULTS, has_budgets=True)
    ((level, text),) = found(config, expected)
    assert (level, "budgets keep every estimate" in text) == (Level.WARN, True)
    repair([config.whole], expected)
    ((level, text),) = found(config, expected)
    assert "no route turns" in text
    assert found(right(), expected) == []


def off(config: Config) -> None:
    """no route turns the filter for LLMs on"""
    del config.routes[-1]["typed_per_filter_config"][NAME]


def disabled(config: Config) -> None:
    """no route turns the filter for LLMs on"""
    config.routes[-1]["typed_per_filter_config"][NAME] = {
        **PER_ROUTE["typed_per_filter_config"][NAME],
        "disabled": True,
    }


def older(config: Config) -> None:
    """that of another version"""
    source = config.manager["http_filters"][0]["typed_config"]["default_source_code"]
    source["inline_string"] = SOURCE + "-- more"


@pytest.mark.parametrize("fault", [off, disabled, older])
def test_a_filter_that_does_not_work_is_a_warning(fault):
    """The rule warns of a filter that is off everywhere, and of one with another text."""
    config = right()
    fault(config)
    ((level, text),) = found(config)
    assert (level, fault.__doc__ in text) == (Level.WARN, True)


@pytest.mark.parametrize("fault", [missing, late, unseen, older])
def test_a_fault_is_repaired(fault):
    """Afterwards only the route is left to a person, and a second run changes nothing."""
    config = right()
    fault(config)
    repair([config.whole], BY_MODEL)
    assert found(config) == []
    before = copy.deepcopy(config.whole)
    repair([config.whole], BY_MODEL)
    assert config.whole == before


def test_a_configuration_without_llms_is_left_alone():
    """`authz envoy patch` adds no filter that no route needs."""
    config = Config()
    before = copy.deepcopy(config.whole)
    repair([config.whole], DEFAULTS)
    assert config.whole == before


def test_the_snippet_has_the_filter_and_the_fields_of_a_route(tmp_path: Path):
    """Merged into envoy.yaml, it is valid, and the doctor finds nothing."""
    parts = yaml.safe_load(snippet(DEFAULTS, [SIDECAR], llm=True))
    filters = parts["manager"]["http_filters"]
    assert [step["name"] for step in filters[:2]] == [NAME, "envoy.filters.http.ext_authz"]
    assert filters[0] == llm_filter()
    assert parts["llm_route"] == PER_ROUTE
    assert "llm_route" not in yaml.safe_load(snippet(DEFAULTS, [SIDECAR]))

    config = Config()
    ours = {step["name"]: step for step in filters}
    listed = [step for step in config.manager["http_filters"] if step["name"] not in ours]
    config.manager["http_filters"] = [*filters, *(one for one in listed if "router" in one["name"])]
    config.routes[-1].update(parts["llm_route"])
    assert found(config) == []
    file = tmp_path / "envoy.yaml"
    file.write_text(yaml.safe_dump(config.whole))
    assert validate(file).returncode == 0


def test_the_gateway_of_authz_dev_is_right(tmp_path: Path):
    """`authz dev --llm` runs envoy.yaml with one more route, and the doctor finds nothing."""
    ports = Ports()
    listeners = {name: {} for name in ("check", "meter", "admin")}
    sections = devconfig.llm_sections()
    file = devconfig.write_settings(tmp_path, listeners, 6379, sections, gateway=1)
    # The sidecar of authz dev ends at once: no other one takes over.
    expected = replace(expected_of(model.load(file, environ={})), delay=DEFAULTS.delay)
    assert (expected.reads_model, expected.has_budgets) == (True, True)
    check = Address.parse("", "127.0.0.1:9191")
    text = devconfig.with_llm(envoy_config(ports, check), expected)
    assert problems([yaml.safe_load(text)], expected) == []
    (tmp_path / "envoy.yaml").write_text(text)
    assert validate(tmp_path / "envoy.yaml").returncode == 0
