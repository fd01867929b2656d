"""The run book docs/operations.md, executed on a clean machine without Docker and systemd.

The shell blocks run in their order: secrets, installation with systemd, a key, an upgrade, a new
pepper, a leaked key. machine.py provides the machine; its systemctl runs the units with their users
and limits. The test adds only the backend, a file server on its port.
"""

import re
import shlex
import shutil
from collections.abc import Iterator

import pytest
import yaml

from authz.proxy import rules
from authz.settings import model
from authz.storage.inspection.checks import CHECKS
from authz.wiring.sidecar import DRAIN_SECONDS
from tests.support.deploy.image import ROOT, needs_namespaces
from tests.support.deploy.machine import DEBIAN, Machine
from tests.support.deploy.manifests import OVERLAYS, built, needs_kubectl, pods
from tests.support.deploy.queries import wrong
from tests.support.deploy.rules import ALERTS
from tests.support.deploy.systemctl import Unit
from tests.support.docs.markdown import anchors

BOOK = (ROOT / "docs" / "operations.md").read_text()
SYSTEMD = ROOT / "deploy" / "systemd"
BLOCKS = re.findall(r"^```sh\n(.*?)^```", BOOK, re.MULTILINE | re.DOTALL)
BACKEND = "exec python3 -m http.server --bind 127.0.0.1 --directory deploy 9000 >/dev/null"
EXPOSED = 20  # the highest accepted exposure level of systemd-analyze, times ten; 100 is the worst

on_a_machine = [
    needs_namespaces,
    *(
        pytest.mark.skipif(
            shutil.which(program) is None, reason=f"needs Debian's package {package}"
        )
        for program, package in DEBIAN.items()
    ),
]


SETUP_SECONDS = 420  # for an installation from the package index and every block

pytestmark = pytest.mark.timeout(SETUP_SECONDS)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Yield a clean machine with a backend on port 9000."""
    with Machine() as made:
        made.spawn(BACKEND)
        yield made


@pytest.fixture(scope="module")
def printed(machine: Machine) -> dict[str, str]:
    """Run every block of the run book in order and return its output."""
    return {block: machine.run(block) for block in BLOCKS}


def block_with(words: str) -> str:
    """Return the one block that contains these words."""
    (found,) = (block for block in BLOCKS if words in block)
    return found


class TestFollowed:
    """The state of the machine after the run book."""

    pytestmark = on_a_machine

    def test_a_key_is_required(self, printed):
        """Envoy answers 200 with the issued key and 401 without a key."""
        assert printed[block_with("keys issue")].splitlines()[-2:] == ["200", "401"]

    def test_a_revoked_key_is_denied(self, printed):
        """Envoy answers 401 once both sidecars have confirmed the revocation."""
        said = printed[block_with("keys revoke --key-stdin")]
        assert "2 of 2 sidecars confirmed" in said
        assert said.splitlines()[-1] == "401"

    def test_the_doctor_has_one_warning(self, printed):
        """The doctor gives only the warning that the run book names."""
        said = printed[block_with("doctor --envoy")]
        found = set(re.findall(r"^(?:warn|fail) +(\w+)", said, re.MULTILINE))
        assert found - {"latency"} == {"replication"}  # latency depends on the load of this machine

    def test_new_keys_are_made_with_the_new_pepper(self, machine, printed):
        """After the rotation new keys carry pepper version 2 and work."""
        issue = ". /etc/authz/admin.env; authz keys issue --client new"
        ask = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:10000/ -H"
        said = machine.run(f'key=$({issue}); echo "$key"; {ask} "x-api-key: $key"')
        assert re.fullmatch(r"ak_live_\w{16}_2\w+\n200", said)

    def test_nobody_else_reaches_the_store_or_the_secrets(self, machine, printed):
        """The store has no network port and needs a password; secret files are private."""
        redis = "redis-cli -s /run/redis-authz/redis.sock"
        assert "NOAUTH" in machine.run(f"{redis} ping")
        assert ":6379" not in machine.run("ss --listening --tcp --numeric")
        nobody = "setpriv --reuid nobody --regid nogroup --clear-groups"
        for secret in ("/etc/authz/pepper-1", "/etc/authz/store/admin", "secrets/users.acl"):
            machine.run(f"test -s {secret}; ! {nobody} test -r {secret}")
        machine.run(f"! setpriv --reuid envoy --regid envoy --groups authz {redis} ping")

    @pytest.mark.skipif(
        shutil.which("systemd-analyze") is None, reason="needs Debian's package systemd"
    )
    def test_systemd_accepts_the_units(self, machine, printed):
        """systemd-analyze accepts every line and reports a low exposure."""
        units = ("authz@1.service", "authz-meter.service", "authz-admin.service", "envoy.service")
        said = machine.run(f"systemd-analyze verify {' '.join(units)} 2>&1")
        ours = [line for line in said.splitlines() if re.search("authz|envoy", line)]
        assert ours == []  # the output also covers other units
        for unit in units:
            look = f"systemd-analyze security --offline=yes --threshold={EXPOSED}"
            machine.run(f"{look} {unit}")


def test_there_is_time_for_a_graceful_stop():
    """systemd waits long enough for a graceful stop, and always restarts a sidecar."""
    unit = Unit("authz@1", (SYSTEMD,))
    ours = model.Settings().shutdown.delay + DRAIN_SECONDS
    assert float(unit.one("TimeoutStopSec").removesuffix("s")) > 2 * ours
    assert unit.one("Restart") == "always"


def test_an_administrator_differs_from_a_sidecar_only_in_its_user():
    """admin.env has the settings of the sidecars and another user of the store."""
    text = (SYSTEMD / "admin.env").read_text().replace("/etc/authz/authz.yaml", "authz.yaml")
    lines = [shlex.split(line) for line in text.splitlines() if line.startswith("export ")]
    said = dict(pair.split("=", 1) for _, pair in lines)
    assert said.pop("AUTHZ_CONFIG") == "authz.yaml"
    sidecar = model.load(SYSTEMD / "authz.yaml", environ={})
    admin = model.load(SYSTEMD / "authz.yaml", environ=said)
    users = (ROOT / "deploy/redis/users.acl").read_text()
    for found in (sidecar, admin):
        assert f"user {found.redis.username} " in users
    assert admin.redis.username == "authz-admin"
    assert admin.changed(redis=sidecar.redis, keys=sidecar.keys) == sidecar
    assert admin.redis.url == sidecar.redis.url


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_complete_section(alert):
    """Each alert has a section with Means, Feel, Look, Do and Over."""
    anchor = ALERTS[alert]["annotations"]["runbook_url"].partition("#")[2]
    (section,) = (
        text for text in re.split(r"^(?=#+ )", BOOK, flags=re.MULTILINE) if anchor in anchors(text)
    )
    assert f"`{alert}`" in section
    assert re.findall(r"^- \*\*(\w+)\*\*:", section, re.MULTILINE) == (
        ["Means", "Feel", "Look", "Do", "Over"]
    )


WATCHED = sorted(set(re.findall(r"`((?:\w+\([^`]*)?(?:authz[:_]|process_)[^`]*)`", BOOK)))


@pytest.mark.parametrize("query", WATCHED)
def test_a_metric_to_watch_exists(query):
    """Each metric and label in the run book is exported or recorded."""
    assert wrong(query) == []


def test_every_check_of_the_doctor_is_documented():
    """The tables of the run book name each check."""
    told = re.findall(r"`(\w+)`", BOOK.partition("## Doctor")[2].partition("\n## ")[0])
    assert {check.__name__ for check in CHECKS} | {*rules.RULES} <= set(told)


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_of_a_manifest_is_made(overlay):
    """The run book creates each mounted secret in the namespace of the overlay."""
    file = ROOT / "deploy/k8s/overlays" / overlay / "kustomization.yaml"
    namespace = yaml.safe_load(file.read_text())["namespace"]
    made = {
        name: set(re.findall(r"--from-file=secrets/(\S+)", files))
        for name, files in re.findall(
            rf"kubectl -n {namespace} create secret generic (\S+)(.*)", BOOK
        )
    }
    mounted = re.findall(r"'secretName': '([\w-]+)'", str(built(overlay)))
    assert set(mounted) == set(made)
    for pod in pods(overlay).values():
        for volume in pod["volumes"]:
            secret = volume.get("secret", {})
            wanted = {item["key"] for item in secret.get("items", ())}
            assert wanted <= made.get(secret.get("secretName"), set())
