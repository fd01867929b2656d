"""docs/operations.md carried out word for word, on a machine without Docker and without systemd.

The shell blocks of the run book are carried out in their order: secrets, the installation with
systemd, a key, an upgrade, a new pepper, the key leaked. machine.py is the machine; its systemctl
runs what the units say, as whom they say it. What the run book takes for granted and this brings is
the backend: a file server on its port.
"""

import os
import re
import shlex
import shutil
from collections.abc import Iterator

import pytest
import yaml

from authz.proxy import rules
from authz.settings import model
from authz.storage.inspection import QUESTIONS
from authz.wiring.sidecar import DRAIN_SECONDS
from tests.deploy.test_image import may_mount
from tests.support.deploy.image import ROOT
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
EXPOSED = 20  # tenths of systemd's points: 0 is nothing, 100 everything

on_a_machine = [
    pytest.mark.skipif(
        os.geteuid() != 0 or not may_mount(), reason="needs root and mount namespaces (unshare)"
    ),
    *(
        pytest.mark.skipif(
            shutil.which(program) is None, reason=f"needs Debian's package {package}"
        )
        for program, package in DEBIAN.items()
    ),
]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A clean machine with a backend on port 9000."""
    with Machine() as made:
        made.spawn(BACKEND)
        yield made


@pytest.fixture(scope="module")
def printed(machine: Machine) -> dict[str, str]:
    """What each block of the run book printed, all of them carried out in their order."""
    return {block: machine.run(block) for block in BLOCKS}


def block_with(words: str) -> str:
    """The one block with these words."""
    (found,) = (block for block in BLOCKS if words in block)
    return found


class TestFollowed:
    """What comes of it."""

    pytestmark = on_a_machine

    def test_a_key_lets_in_and_no_key_does_not(self, printed):
        """Through Envoy: 200 with the key that was issued, 401 without."""
        assert printed[block_with("keys issue")].splitlines()[-2:] == ["200", "401"]

    def test_a_revoked_key_does_not(self, printed):
        """Through the same Envoy, once both sidecars have confirmed it."""
        said = printed[block_with("keys revoke --key-stdin")]
        assert "2 of 2 sidecars confirmed" in said
        assert said.splitlines()[-1] == "401"

    def test_the_doctor_has_one_thing_to_say(self, printed):
        """The warning that the run book tells of."""
        said = printed[block_with("doctor --envoy")]
        found = set(re.findall(r"^(?:warn|fail) +(\w+)", said, re.MULTILINE))
        assert found - {"latency"} == {"replication"}  # latency is this machine's, which is busy

    def test_new_keys_are_made_with_the_new_pepper(self, machine, printed):
        """And old ones go on."""
        issue = ". /etc/authz/admin.env; authz keys issue --client new"
        ask = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:10000/ -H"
        said = machine.run(f'key=$({issue}); echo "$key"; {ask} "x-api-key: $key"')
        assert re.fullmatch(r"ak_live_\w{16}_2\w+\n200", said)

    def test_nobody_else_reaches_the_store_or_the_secrets(self, machine, printed):
        """Not over the network, not without a password, and no file is for everybody."""
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
    def test_systemd_takes_the_units(self, machine, printed):
        """It understands every line, and finds that they keep little."""
        said = machine.run("systemd-analyze verify authz@1.service envoy.service 2>&1")
        ours = [line for line in said.splitlines() if re.search("authz|envoy", line)]
        assert ours == []  # a machine's other units are looked at, too
        for unit in ("authz@1.service", "envoy.service"):
            look = f"systemd-analyze security --offline=yes --threshold={EXPOSED}"
            machine.run(f"{look} {unit}")


def test_there_is_time_for_an_end_in_good_order():
    """systemd waits for longer than a sidecar takes, and starts it again however it ended."""
    unit = Unit("authz@1", (SYSTEMD,))
    ours = model.Settings().shutdown.delay + DRAIN_SECONDS
    assert float(unit.one("TimeoutStopSec").removesuffix("s")) > 2 * ours
    assert unit.one("Restart") == "always"


def test_an_administrator_differs_from_a_sidecar_in_who_it_is():
    """It has the sidecars' settings, but is another of the store's users."""
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
    changed = {"redis", "keys"}
    assert admin.model_dump(exclude=changed) == sidecar.model_dump(exclude=changed)
    assert admin.redis.url == sidecar.redis.url


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_all_that_is_wanted_at_night(alert):
    """What it means, what callers feel, where to look, what to do, and when it is over."""
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
def test_what_is_to_be_watched_is_there(query):
    """Each metric and label that the run book names is one that is exported or recorded."""
    assert wrong(query) == []


def test_every_check_of_the_doctor_is_told():
    """In the run book's tables."""
    told = re.findall(r"`(\w+)`", BOOK.partition("## Doctor")[2].partition("\n## ")[0])
    assert {question.__name__ for question in QUESTIONS} | {*rules.QUESTIONS} <= set(told)


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_of_a_manifest_is_made(overlay):
    """In the namespace of its overlay, with the names of what is mounted from it."""
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
