"""The image contains the pinned packages only, and runs on a read-only root."""

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from authz import __version__
from authz.cli.child_processes import ChildProcesses
from tests.support.deploy import image
from tests.support.real import Valkey, free_port

PINNED = dict(
    re.findall(r"^([\w.-]+)==(\S+)", (image.ROOT / "deploy/constraints.txt").read_text(), re.M)
)
UNCHECKED_HASH = b"\x01\0\0\0"  # flags of a compiled module, PEP 552

# The build installs every package, which takes minutes on a busy machine.
pytestmark = [image.needs_namespaces, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stage() -> Iterator[image.Stage]:
    """Yield the last stage of the image, in pure Python if this machine has no C compiler."""
    directory = Path(tempfile.mkdtemp(prefix="authz-image-"))
    directory.chmod(0o755)
    arguments = {} if image.may_compile() else {"COMPILED": "no"}
    yield image.build(directory, **arguments)
    shutil.rmtree(directory)


def installed(stage: image.Stage) -> dict[str, str]:
    """Return the installed distributions: name and version."""
    listing = "from importlib.metadata import distributions as d\n"
    listing += "print(*(f'{x.name}=={x.version}' for x in d()), sep='\\n')"
    done = image.run(stage, ["python", "-c", listing], capture_output=True, text=True)
    return dict(line.split("==") for line in done.stdout.split())


def test_it_holds_the_lock_and_nothing_else(stage):
    """Every distribution except ours has the version of constraints.txt; pip is absent."""
    found = installed(stage)
    assert "envoy-authz" in found
    assert "grpcio" in found
    assert "pip" not in found
    assert {name: version for name, version in found.items() if name != "envoy-authz"}.items() <= (
        PINNED.items()
    )


def test_its_sbom_lists_what_is_installed(stage):
    """The SBOM is a CycloneDX document of exactly the installed distributions."""
    sbom = json.loads((stage.directory / "opt/authz/sbom.cdx.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    listed = {one["name"]: one["version"] for one in sbom["components"]}
    assert listed == installed(stage)


def test_its_provenance_names_the_wheel_and_the_lists(stage):
    """The file has the digests of the lists of packages, and of one wheel of ours."""
    lines = (stage.directory / "opt/authz/provenance.sha256").read_text().splitlines()
    said = {name: digest for digest, name in (line.split() for line in lines)}
    for name in ("deploy/requirements.txt", "deploy/build-requirements.txt"):
        assert said.pop(name) == hashlib.sha256((image.ROOT / name).read_bytes()).hexdigest()
    ((wheel, _),) = said.items()
    assert wheel.startswith("envoy_authz-")


@image.needs_compiler
def test_its_hot_path_is_compiled(stage):
    """Without a build argument the wheel is one for this platform, and authz runs compiled."""
    done = image.run(stage, ["authz", "--version"], capture_output=True, text=True)
    assert done.stdout == f"authz {__version__} (hot path compiled)\n"
    assert "-linux_" in (stage.directory / "opt/authz/provenance.sha256").read_text()


def test_the_pure_wheel_is_that_of_make_dist(stage, tmp_path):
    """COMPILED=no makes the same bytes as `make dist`, also where modules were compiled before."""
    build = image.Stage(stage.directory.parent / "build", workdir="/src")
    (command,) = [said for _, said in image.instructions() if " wheel --no-index" in said]
    pure = replace(build, env=build.env | {"COMPILED": "no"})
    image.run(pure, ["sh", "-euc", command], read_only=False).check_returncode()
    (found,) = (build.directory / "opt/wheel").glob("*-py3-none-any.whl")
    dist = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*dist, "--directory", str(tmp_path)], check=True, cwd=image.ROOT)
    assert found.read_bytes() == (tmp_path / found.name).read_bytes()
    with zipfile.ZipFile(found) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]


def compiler_step(stage: image.Stage, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the instruction that looks for a compiler, in the last stage, and return its end."""
    (command,) = [line for _, line in image.instructions() if line.startswith("case ")]
    other = replace(stage, user="0:0", env=stage.env | env)
    return image.run(other, ["/bin/sh", "-euc", command], capture_output=True, text=True)


@pytest.mark.parametrize(("said", "code"), [("no", 0), ("maybe", 2), ("", 2)])
def test_whether_it_is_compiled_is_yes_or_no(stage, said, code):
    """Another value of COMPILED fails the build."""
    assert compiler_step(stage, COMPILED=said).returncode == code


def test_a_missing_compiler_names_the_way_without_one(stage):
    """If gcc is missing and cannot be installed, the last line says how to build without it."""
    done = compiler_step(stage, COMPILED="yes", PATH="/nowhere")
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "Debian mirror" in line
    assert "--build-arg COMPILED=no" in line
    assert "--build-arg BUILD_PYTHON=" in line


def test_its_modules_are_compiled_without_times(stage):
    """Each compiled module has the hash of its source, unchecked, so that two builds are equal."""
    library = stage.directory / "opt/authz/lib"
    kinds = {path.read_bytes()[4:8] for path in library.rglob("*.pyc")}
    assert kinds == {UNCHECKED_HASH}
    compiled = importlib.util.cache_from_source("main.py")  # of this Python, as in the image
    (ours,) = library.glob("python3*/site-packages/authz/cli/main.py")
    assert (ours.parent / compiled).exists()


def test_it_does_not_run_as_root(stage):
    """The user is a number other than 0, so that Kubernetes can verify runAsNonRoot."""
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", stage.user)


def test_nothing_can_be_written(stage):
    """The root file system is read-only for the image's user and for root."""
    for user in (stage.user, "0:0"):
        other = replace(stage, user=user)
        for place in ("/tmp/x", "/opt/authz/x", "/usr/local/x"):
            done = image.run(other, ["python", "-c", f"open({place!r}, 'w')"], capture_output=True)
            assert b"Read-only file system" in done.stderr


def test_it_serves_from_a_read_only_root(stage, valkey: Valkey):
    """ENTRYPOINT and CMD start as the image's user, and the health check passes."""
    # A writable directory, and a name that no other test run uses.
    ops, pepper = free_port(), Path("/dev/shm") / f"{stage.directory.parent.name}-pepper"
    settings = {
        "AUTHZ_REDIS__URL": valkey.url,
        "AUTHZ_CHECK__LISTEN": f"127.0.0.1:{free_port()}",
        "AUTHZ_OPS__LISTEN": f"127.0.0.1:{ops}",
        "AUTHZ_KEYS__PEPPERS": json.dumps([{"version": "1", "file": str(pepper)}]),
    }
    env = {name: value for name, value in stage.env.items() if name != "AUTHZ_CONFIG"} | settings
    running, started = replace(stage, env=env), stage.list("ENTRYPOINT")
    healthy = stage.list("HEALTHCHECK")
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
