"""The image: built from the lock, nothing in it that is not needed, nothing written by it."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from authz.cli.child_processes import ChildProcesses
from tests.support.deploy import image
from tests.support.real import Valkey, free_port

PINNED = dict(
    re.findall(r"^([\w.-]+)==(\S+)", (image.ROOT / "deploy/constraints.txt").read_text(), re.M)
)


def may_mount() -> bool:
    """Whether this user may make mounts of its own."""
    trial = ["unshare", "--mount", "mount", "--bind", "/usr", "/mnt"]
    return not subprocess.run(trial, check=False, capture_output=True).returncode


pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not may_mount(), reason="needs root and mount namespaces (unshare)"
)


@pytest.fixture(scope="module")
def stage() -> Iterator[image.Stage]:
    """The finished image."""
    directory = Path(tempfile.mkdtemp(prefix="authz-image-"))
    directory.chmod(0o755)
    yield image.build(directory)
    shutil.rmtree(directory)


def installed(stage: image.Stage) -> dict[str, str]:
    """What is in the image, by name."""
    listing = "from importlib.metadata import distributions as d\n"
    listing += "print(*(f'{x.name}=={x.version}' for x in d()), sep='\\n')"
    done = image.run(stage, ["python", "-c", listing], capture_output=True, text=True)
    return dict(line.split("==") for line in done.stdout.split())


def test_it_holds_the_lock_and_nothing_else(stage):
    """Every distribution but authz is in the lock, at that version; there is no pip."""
    found = installed(stage)
    assert "authz" in found
    assert "grpcio" in found
    assert "pip" not in found
    assert {name: version for name, version in found.items() if name != "authz"}.items() <= (
        PINNED.items()
    )


def test_it_does_not_run_as_root(stage):
    """The user is a number, so that Kubernetes can tell, and not that of root."""
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", stage.user)


def test_nothing_can_be_written(stage):
    """What the other tests here run on is read-only, for its own user and for root."""
    for user in (stage.user, "0:0"):
        other = replace(stage, user=user)
        for place in ("/tmp/x", "/opt/authz/x", "/usr/local/x"):
            done = image.run(other, ["python", "-c", f"open({place!r}, 'w')"], capture_output=True)
            assert b"Read-only file system" in done.stderr


def test_it_serves_from_a_read_only_root(stage, valkey: Valkey):
    """As its own user it starts with what ENTRYPOINT and CMD say, and its health check passes."""
    # Writable, and no other run's.
    ops, pepper = free_port(), Path("/dev/shm") / f"{stage.directory.parent.name}-pepper"
    settings = {
        "AUTHZ_REDIS__URL": valkey.url,
        "AUTHZ_CHECK__LISTEN": f"127.0.0.1:{free_port()}",
        "AUTHZ_OPS__LISTEN": f"127.0.0.1:{ops}",
        "AUTHZ_KEYS__PEPPERS": json.dumps([{"version": "1", "file": str(pepper)}]),
    }
    env = {name: value for name, value in stage.env.items() if name != "AUTHZ_CONFIG"} | settings
    running, started = replace(stage, env=env), stage.list("ENTRYPOINT")
    healthy = [word.replace("9192", str(ops)) for word in stage.list("HEALTHCHECK")]
    assert image.run(running, [*started, "init"], capture_output=True).returncode == 0
    try:
        with ChildProcesses() as children:
            children.spawn("authz", image.confined(running, started + stage.list("CMD")))
            children.wait("authz", lambda: _is_ready(ops))
            children.wait("authz", lambda: not image.run(running, healthy).returncode)
        assert image.run(running, healthy, capture_output=True).returncode == 1
    finally:
        pepper.unlink(missing_ok=True)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=20) as answer:
            return answer.status == 200
    except OSError:
        return False
