"""deploy/requirements.txt: the packages of the image, each with the hashes of its files."""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.deploy import image

DEPLOY = Path(__file__).parents[2] / "deploy"
ENTRY = re.compile(r"^([\w.-]+)==(\S+) ((?:\\\n +--hash=sha256:[0-9a-f]{64} ?)+)$", re.MULTILINE)


def entries(name):
    """Return the versions in a file, by name. Each entry has at least one hash."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / name).read_text(), flags=re.MULTILINE)
    assert not ENTRY.sub("", text).strip()
    return {canonicalize_name(found[1]): found[2] for found in ENTRY.finditer(text)}


def needs(name, seen):
    """Add a distribution's requirements on this system to `seen`, and theirs."""
    for text in distribution(name).requires or ():
        one = Requirement(text)
        needed = canonicalize_name(one.name)
        if needed not in seen and (one.marker is None or one.marker.evaluate({"extra": ""})):
            seen.add(needed)
            needs(needed, seen)
    return seen


def test_versions_are_the_tested_ones():
    """Every package of the image has the version of constraints.txt."""
    pinned = re.findall(r"^([\w.-]+)==(\S+)", (DEPLOY / "constraints.txt").read_text(), re.M)
    tested = {canonicalize_name(name): version for name, version in pinned}
    assert entries("requirements.txt").items() <= tested.items()


def test_nothing_is_missing():
    """The file has everything that our package needs; pip would refuse the image otherwise."""
    assert needs("envoy-authz", set()) <= entries("requirements.txt").keys()


@pytest.mark.parametrize("tool", ["hatchling", "hatch-mypyc", "mypy", "cyclonedx-bom"])
def test_the_build_is_pinned(tool):
    """The tools that build image, SBOM and compiled hot path have versions and hashes, too."""
    assert tool in entries("build-requirements.txt")


def test_every_package_has_wheels_for_arm64(tmp_path):
    """The image can be built for arm64: pip finds a wheel of each package by its hash."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--python-version", "3.11", "--dest", str(tmp_path)]
    for tag in ("manylinux_2_28", "manylinux_2_17", "manylinux2014"):
        command += ["--platform", f"{tag}_aarch64"]
    command += ["--requirement", str(DEPLOY / "requirements.txt")]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | image.index()
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == len(entries("requirements.txt"))
