"""deploy/compose.yaml: valid, locked down, and of what is in this repository."""

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
from tests.proxy.test_rules import DEFAULTS

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
each = pytest.mark.parametrize("name", SERVICES)


def content(name: str) -> str:
    """A file that a service is given."""
    return (DEPLOY / COMPOSE["configs"][name]["file"]).read_text()


def test_it_fits_the_compose_specification():
    """With its anchors resolved, as Compose resolves them."""
    found = PyCompose.from_yaml(yaml.safe_dump(COMPOSE))
    assert set(found.service_names()) == set(SERVICES)
    for part in ("configs", "networks", "volumes"):
        getattr(found, f"validate_{part}")()


@each
def test_a_service_is_locked_down(name: str):
    """Nothing is written but on volumes, no right is kept, and nobody from elsewhere gets in."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "latest" not in service["image"]
    assert ":" in service["image"]


@each
def test_what_a_service_is_given_is_there(name: str):
    """Files of this repository exist, volumes and configs are declared."""
    service = SERVICES[name]
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (
            (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        )
    assert {given["source"] for given in service.get("configs", ())} <= set(COMPOSE["configs"])


def test_configs_are_files():
    """Compose mounts those; `content` it copies, which a read-only container does not take."""
    for config_of in COMPOSE["configs"].values():
        assert set(config_of) == {"file"}
        assert (DEPLOY / config_of["file"]).is_file()


@each
def test_a_service_is_asked_how_it_is_only_as_what_it_is(name: str):
    """The health check of our image asks a sidecar; what else runs from it is not one."""
    service = SERVICES[name]
    if service["image"].startswith("authz:") and name != "authz":
        assert service["healthcheck"] == {"disable": True}


def test_the_store_and_authz_are_not_to_be_reached():
    """Their network has no way out, and they publish nothing."""
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("valkey", "authz", "toolbox", "backend"):
        assert SERVICES[name]["networks"] == ["inside"]
        assert "ports" not in SERVICES[name]


def test_its_settings_are_settings(tmp_path: Path):
    """They are read as authz reads them, and lie on the volumes that it is given."""
    (tmp_path / "authz.yaml").write_text(content("authz"))
    found = model.load(tmp_path / "authz.yaml", environ={})
    mounted = {volume.split(":")[1] for volume in SERVICES["authz"]["volumes"]}
    opened = [Path(found.check.listen.path), found.cache.snapshot, found.keys.peppers[0].file]
    assert {str(file.parent) for file in opened} == mounted


def test_its_envoy_is_in_order():
    """The doctor finds nothing in what Envoy is given, whose group may open the socket."""
    findings = list(examine(read(DEPLOY / "k8s/base/envoy.yaml"), DEFAULTS))
    assert {finding.level for finding in findings} == {Level.OK}
    (user,) = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if "USER" in line]
    assert SERVICES["envoy"]["user"].split(":")[1] == user.split(":")[1]


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool: Debian's prometheus")
def test_prometheus_takes_its_configuration(tmp_path: Path):
    """With the rules that are mounted beside it."""
    rules = DEPLOY / "prometheus" / "authz.rules.yaml"
    file = tmp_path / "prometheus.yaml"
    file.write_text(content("prometheus").replace("/etc/prometheus/authz.rules.yaml", str(rules)))
    command = ["promtool", "check", "config", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "rules found" in done.stdout
