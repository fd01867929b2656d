"""The rule about the usage logger on dumps of real Envoys, and its parts in envoy.yaml.

The files in fixtures/usage are reduced to the parts that the rule reads. Istio or Envoy Gateway
made each of them, and a receiver was then killed or frozen: the findings say what was lost.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.core.finding import Finding, Level
from authz.core.listen_address import Address
from authz.core.usage.line import LINE
from authz.proxy.document import read
from authz.proxy.repair import repair
from authz.proxy.rules import examine
from authz.proxy.snippet import snippet
from authz.proxy.usage_logger import usage_cluster, usage_logger
from tests.support.proxy.envoys import manager_of
from tests.support.proxy.faults import ORIGINAL, Config
from tests.support.proxy.report import DEFAULTS, problems
from tests.support.proxy.usage_faults import in_the_cluster, logger, own

FIXTURES = Path(__file__).parent / "fixtures" / "usage"
RIGHT = [
    "gateway-patched",
    "gateway-cluster-retry",
    "istio-envoyfilter",
    "istio-provider-cluster-retry",
]
WRONG = {
    "gateway-64k": ["may exceed 64 KiB"],
    "gateway-sink-only": ["not sent again if the meter is away"],
    "gateway-wrong-index": ["not sent again if the meter is away"],
    "istio-64k": ["may exceed 64 KiB"],
    "istio-cluster-retry-1.36": ["not sent again if the meter is away"],
    "istio-max-retries-3": ["at most 3 batches"],
    "istio-no-cluster": ["not in this file (outbound|4317||authz-usage.local)"],
    "istio-provider-only": ["not sent again if the meter is away", "fills Envoy's memory"],
    "istio-second-telemetry": ["no usage logger, although there is a cluster outbound|4317||"],
}


def told(documents: list[Any]) -> list[Finding]:
    """Return the findings about usage."""
    return [found for found in examine(documents, DEFAULTS) if found.check == "usage"]


def test_every_fixture_has_an_expectation():
    """No dump is forgotten."""
    assert {file.stem for file in FIXTURES.iterdir()} == {*RIGHT, *WRONG}


@pytest.mark.parametrize("name", RIGHT)
def test_a_configuration_that_lost_nothing_is_in_order(name: str):
    """The one finding says that the line of these dumps is an earlier one."""
    ((level, found),) = [(one.level, one.found) for one in told(read(FIXTURES / f"{name}.json"))]
    assert level is Level.OK
    assert found.endswith("the usage line is an earlier one: it settles no budget")


def test_the_shipped_configuration_is_in_order():
    """Its line is the current one."""
    ((level, found),) = [(one.level, one.found) for one in told([Config().whole])]
    assert level is Level.OK
    assert found.endswith("the meter gets a record of every request")


@pytest.mark.parametrize("name", WRONG)
def test_a_configuration_that_lost_usage_is_found(name: str):
    """Each cause of the loss is a warning with advice, and there is no other."""
    found = [one for one in told(read(FIXTURES / f"{name}.json")) if one.level is not Level.OK]
    assert {one.level for one in found} == {Level.WARN}
    assert all(one.advice for one in found)
    assert len(found) == len(WRONG[name])
    for one, text in zip(found, WRONG[name], strict=True):
        assert text in one.found


def test_without_a_meter_nothing_is_wrong():
    """A configuration without logger and cluster counts no usage; the report says so."""
    config = Config()
    config.manager["access_log"].pop(1)
    config.whole["static_resources"]["clusters"].pop(1)
    (found,) = told([config.whole])
    assert (found.level, found.found) == (
        Level.OK,
        "ingress/authz: no usage logger: nothing is counted",
    )


@pytest.mark.parametrize(("version", "is_known"), [(36, False), (37, True), (40, True)])
def test_a_cluster_retries_since_envoy_1_37(version: int, is_known: bool):
    """An older Envoy ignores the retry policy of a cluster. A file does not name its Envoy."""
    config = Config()
    in_the_cluster(config)
    assert problems([config.whole]) == []
    build = {"version": {"major_number": 1, "minor_number": version}}
    dump = {
        "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
        "bootstrap": {"node": {"user_agent_build_version": build}},
    }
    found = [one.found for one in told([config.whole, dump])]
    assert any("this Envoy ignores retry_policy of the cluster" in one for one in found) != is_known


def test_a_file_logger_with_the_line_is_a_usage_logger():
    """The meter can follow a file; its text ends with a line feed."""
    config = Config()
    file = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": "/var/log/envoy/usage.log",
        "log_format": {"text_format_source": {"inline_string": LINE + "\n"}},
    }
    log = logger(config)
    log.update(name="envoy.access_loggers.file", typed_config=file)
    assert problems([config.whole]) == []
    file["log_format"]["text_format_source"]["inline_string"] = LINE
    assert [one.found for one in told([config.whole])] == [
        "ingress/authz: the meter cannot read the lines of the usage logger"
    ]


def test_another_open_telemetry_logger_is_not_looked_at():
    """A logger for somebody else may have any format."""
    config = Config()
    other = yaml.safe_load(yaml.safe_dump(logger(config)))
    other.pop("filter")
    other["typed_config"].update(
        body={"string_value": "%START_TIME%"},
        common_config={
            "log_name": "all",
            "grpc_service": {"envoy_grpc": {"cluster_name": "backend"}},
        },
    )
    config.manager["access_log"].append(other)
    assert problems([config.whole]) == []


@pytest.mark.parametrize("value", [None, "x", [], 3, {"string_value": 3}])
def test_odd_values_are_reported_and_not_raised(value: object):
    """A part of the wrong type is a problem of the file, not of the doctor."""
    for name in ("body", "common_config"):
        config = Config()
        own(config)[name] = value
        assert {one.level for one in told([config.whole])} == {Level.WARN}
        repair([config.whole], DEFAULTS)
        assert problems([config.whole]) == []


def test_the_parts_are_those_of_envoy_yaml():
    """`authz envoy patch` writes the logger and the cluster of envoy.yaml."""
    whole = yaml.safe_load(ORIGINAL.read_text())
    assert manager_of(whole)["access_log"][1] == usage_logger()
    assert whole["static_resources"]["clusters"][1] == usage_cluster()


def test_the_snippet_names_the_meters():
    """Each meter is an endpoint of the second cluster, and the doctor finds nothing."""
    addresses = [Address("10.0.0.7", 9195), Address("meter.example", 4317)]
    parts = yaml.safe_load(snippet(DEFAULTS, [Address("127.0.0.1", 9191)], addresses))
    cluster = parts["clusters"][1]
    assert (cluster["name"], cluster["type"]) == ("authz_usage", "STRICT_DNS")
    (group,) = cluster["load_assignment"]["endpoints"]
    assert [one["endpoint"]["address"]["socket_address"] for one in group["lb_endpoints"]] == [
        {"address": "10.0.0.7", "port_value": 9195},
        {"address": "meter.example", "port_value": 4317},
    ]
    assert parts["manager"]["access_log"] == [usage_logger()]
