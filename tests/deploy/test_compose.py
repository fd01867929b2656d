"""deploy/compose.yaml is valid, locked down, and uses files that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from authz.core.finding import Level
from authz.proxy.document import read
from authz.proxy.rules import examine
from authz.settings import model
from tests.support.proxy.report import DEFAULTS

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
each = pytest.mark.parametrize("name", SERVICES)


def content(name: str) -> str:
    """Return the content of a config."""
    return (DEPLOY / COMPOSE["configs"][name]["file"]).read_text()


def test_it_fits_the_compose_specification():
    """The file, with its anchors resolved, fits the Compose specification."""
    # The library refuses a tag with a digest, which Docker and the specification allow.
    text = re.sub(r"@sha256:[0-9a-f]{64}\b", "", yaml.safe_dump(COMPOSE))
    found = PyCompose.from_yaml(text)
    assert set(found.service_names()) == set(SERVICES)
    for part in ("configs", "networks", "volumes"):
        getattr(found, f"validate_{part}")()


@each
def test_a_service_is_locked_down(name: str):
    """The root is read-only, no capability is kept, and ports are published on loopback only."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "latest" not in service["image"]
    assert ":" in service["image"]


@each
def test_mounts_and_configs_exist(name: str):
    """Mounted files exist; volumes and configs are declared."""
    service = SERVICES[name]
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (
            (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        )
    assert {given["source"] for given in service.get("configs", ())} <= set(COMPOSE["configs"])


def test_configs_are_files():
    """Configs are files: Compose copies `content` into the container, which is read-only."""
    for config_of in COMPOSE["configs"].values():
        assert set(config_of) == {"file"}
        assert (DEPLOY / config_of["file"]).is_file()


@each
def test_only_the_sidecar_has_the_health_check_of_the_image(name: str):
    """Other services from the same image disable its health check."""
    service = SERVICES[name]
    if service["image"].startswith("authz:") and name != "authz":
        assert service["healthcheck"] == {"disable": True}


def test_the_store_and_authz_cannot_be_reached():
    """Their network is internal, and they publish no port."""
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("valkey", "authz", "toolbox", "backend"):
        assert SERVICES[name]["networks"] == ["inside"]
        assert "ports" not in SERVICES[name]


def test_its_settings_are_settings(tmp_path: Path):
    """The settings load, and every file they name is on a mounted volume."""
    (tmp_path / "authz.yaml").write_text(content("authz"))
    found = model.load(tmp_path / "authz.yaml", environ={})
    mounted = {volume.split(":")[1] for volume in SERVICES["authz"]["volumes"]}
    opened = [Path(found.check.listen.path), found.cache.snapshot, found.keys.peppers[0].file]
    assert {str(file.parent) for file in opened} == mounted


def test_its_envoy_is_in_order():
    """The doctor finds no problem, and Envoy runs with the group that may open the socket."""
    findings = list(examine(read(DEPLOY / "k8s/base/envoy.yaml"), DEFAULTS))
    assert {finding.level for finding in findings} == {Level.OK}
    (user,) = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if "USER" in line]
    assert SERVICES["envoy"]["user"].split(":")[1] == user.split(":")[1]


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool: Debian's prometheus")
def test_prometheus_takes_its_configuration(tmp_path: Path):
    """promtool accepts the configuration together with the mounted rules."""
    rules = DEPLOY / "prometheus" / "authz.rules.yaml"
    file = tmp_path / "prometheus.yaml"
    file.write_text(content("prometheus").replace("/etc/prometheus/authz.rules.yaml", str(rules)))
    command = ["promtool", "check", "config", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "rules found" in done.stdout
