"""The rules of the doctor compared with a real Envoy."""

import urllib.request
from pathlib import Path

import pytest
import yaml

from authz.core.finding import Level
from authz.proxy.document import read
from tests.support.proxy.envoys import running, validate
from tests.support.proxy.faults import Config, Fault
from tests.support.proxy.report import problems
from tests.support.proxy.subtle import ALL
from tests.support.real import free_port


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_envoy_accepts_a_configuration_with_a_fault(fault: Fault, tmp_path: Path):
    """Envoy itself does not report any of the faults that the doctor finds."""
    file = tmp_path / "envoy.yaml"
    file.write_text(yaml.safe_dump(fault.config()))
    done = validate(file)
    assert done.returncode == 0, done.stderr[-1000:]


def test_a_config_dump_has_the_findings_of_its_file(tmp_path: Path):
    """The /config_dump of a running Envoy leads to the same findings as its file."""
    config, admin = Config(), free_port()
    config.whole["admin"]["address"]["socket_address"]["port_value"] = admin
    listener = config.whole["static_resources"]["listeners"][0]
    listener["address"]["socket_address"].update(address="127.0.0.1", port_value=free_port())
    config.filter["failure_mode_allow"] = True
    config.cluster.pop("health_checks")
    file, dump = tmp_path / "envoy.yaml", tmp_path / "dump.json"
    with (
        running(config.whole, file),
        urllib.request.urlopen(f"http://127.0.0.1:{admin}/config_dump", timeout=20) as answer,
    ):
        dump.write_bytes(answer.read())
    assert {(found.level, found.check) for found in problems(read(dump))} == {
        (Level.FAIL, "failures"),
        (Level.WARN, "cluster"),
    }
