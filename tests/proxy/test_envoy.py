"""The same rules, against a real Envoy."""

import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml

from authz.cli import binaries
from authz.cli.child_processes import ChildProcesses
from authz.core.finding import Level
from authz.proxy.document import read
from authz.proxy.rules import examine
from tests.proxy.test_rules import DEFAULTS
from tests.support.proxy.faults import Config, Fault
from tests.support.proxy.subtle import ALL
from tests.support.real import free_port


def validate(file: Path) -> subprocess.CompletedProcess[str]:
    """What the real Envoy says of a configuration, without running it."""
    command = [binaries.envoy(), "--mode", "validate", "--config-path", file]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_envoy_takes_what_is_found_here(fault: Fault, tmp_path: Path):
    """Each fault is one that Envoy itself does not refuse, so nobody else would have found it."""
    file = tmp_path / "envoy.yaml"
    file.write_text(yaml.safe_dump(fault.config()))
    done = validate(file)
    assert done.returncode == 0, done.stderr[-1000:]


def test_what_envoy_says_of_itself_is_told_the_same(tmp_path: Path):
    """/config_dump of a running Envoy, in which all is typed and in place, is read as its file."""
    config, admin = Config(), free_port()
    config.whole["admin"]["address"]["socket_address"]["port_value"] = admin
    listener = config.whole["static_resources"]["listeners"][0]
    listener["address"]["socket_address"].update(address="127.0.0.1", port_value=free_port())
    config.filter["failure_mode_allow"] = True
    config.cluster.pop("health_checks")
    file, dump = tmp_path / "envoy.yaml", tmp_path / "dump.json"
    file.write_text(yaml.safe_dump(config.whole))

    def is_ready() -> bool:
        here = f"http://127.0.0.1:{admin}"
        try:
            urllib.request.urlopen(f"{here}/ready").close()  # before that not all may be in place
            with urllib.request.urlopen(f"{here}/config_dump") as answer:
                dump.write_bytes(answer.read())
        except OSError:
            return False
        return True

    with ChildProcesses() as children:
        command = [binaries.envoy(), "--config-path", file, "--disable-hot-restart"]
        children.spawn("envoy", [*command, "--concurrency", "1"])
        children.wait("envoy", is_ready)
    found = list(examine(read(dump), DEFAULTS))
    assert {(f.level, f.check) for f in found if f.level is not Level.OK} == {
        (Level.FAIL, "failures"),
        (Level.WARN, "cluster"),
    }
