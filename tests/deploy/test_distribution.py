"""The distribution envoy-authz: built reproducibly, and installed as a command of its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from authz import __version__
from tests.support.deploy.installed import Installed

ROOT = Path(__file__).parents[2]
SOURCES = ("authz", "proto", "pyproject.toml", "README.md", "LICENSE", "envoy.yaml", ".gitignore")


def built(directory: Path, moment: int) -> list[Path]:
    """Return the sdist and the wheel, built from a copy whose files have this modification time."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(source, directory / name, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(source, directory / name)
    for path in directory.rglob("*"):
        os.utime(path, (moment, moment))
    command = [sys.executable, "-m", "hatchling", "build", "--directory", "dist"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return sorted((directory / "dist").iterdir())


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the sdist and the wheel."""
    return built(tmp_path_factory.mktemp("first"), 1_000_000_000)


def test_it_is_the_same_everywhere(distribution, tmp_path):
    """Sources at another place, with other times, give the same bytes."""
    umask = os.umask(0o077)
    try:
        place = tmp_path / "a b"
        place.mkdir()
        again = built(place, 1_700_000_000)
    finally:
        os.umask(umask)
    assert [path.name for path in again] == [path.name for path in distribution]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in distribution]


def test_its_names(distribution):
    """The distribution has a name of our own; nothing of this machine is in it."""
    wheel, sdist = sorted(distribution, key=lambda path: path.suffix, reverse=True)
    assert wheel.name.startswith("envoy_authz-")
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert f"{sdist.name.removesuffix('.tar.gz')}/authz/cli/main.py" in names
    assert not any("__pycache__" in name or ".venv" in name for name in names)


def test_it_can_be_installed(distribution, tmp_path):
    """The wheel brings the command authz and all files that it needs."""
    wheel = next(path for path in distribution if path.suffix == ".whl")
    found = Installed(wheel, tmp_path / "venv")
    assert found.run("authz", "--version") == f"authz {__version__}\n"
    assert "ext_authz" in found.run("authz", "envoy", "snippet")
    told = "import authz, importlib.metadata as m; print(authz.__file__, m.version('envoy-authz'))"
    assert found.run("python", "-c", told).startswith(str(found.site))


def test_it_takes_nothing_that_a_build_has_compiled(distribution, tmp_path):
    """The hook that compiles leaves modules beside the sources. The pure wheel has none of them."""
    left = tmp_path / "authz/core/policy.cpython-311-x86_64-linux-gnu.so"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")
    again = built(tmp_path, 1_000_000_000)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in distribution]


def stand_in(directory: Path, name: str, **files: str) -> None:
    """Write a wheel with the name and version of a package here, and without its code."""
    version = metadata.version(name)
    stem = f"{name.replace('-', '_')}-{version}"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    made_by = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(directory / f"{stem}-py3-none-any.whl", "w") as wheel:
        for path, text in {"METADATA": about, "WHEEL": made_by, "RECORD": ""}.items():
            wheel.writestr(f"{stem}.dist-info/{path}", text)
        for path, text in files.items():
            wheel.writestr(f"{path}.pth", text)


def test_pipx_installs_it(distribution, tmp_path):
    """`pipx install` of the wheel gives the command authz.

    Its dependencies are resolved from stand-ins, and their code comes from this environment, so the
    test needs no package index.
    """
    wheel = next(path for path in distribution if path.suffix == ".whl")
    needed = map(Requirement, metadata.requires("envoy-authz") or [])
    direct = [one.name for one in needed if one.marker is None or one.marker.evaluate()]
    for name in direct:
        stand_in(tmp_path, name)
    stand_in(tmp_path, "click", dependencies=sysconfig.get_path("purelib"))
    venv.create(tmp_path / "shared", with_pip=True)
    places = {name: str(tmp_path / name.lower()) for name in ("HOME", "BIN_DIR", "MAN_DIR")}
    environment = os.environ | {f"PIPX_{name}": place for name, place in places.items()}
    environment["PIPX_SHARED_LIBS"] = str(tmp_path / "shared")
    pip = f"--pip-args=--no-index --no-compile --find-links {tmp_path}"
    command = [sys.executable, "-m", "pipx", "install", pip, str(wheel)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "envoy-authz" in done.stdout
    [authz] = (tmp_path / "bin_dir").iterdir()
    told = subprocess.run([authz, "--version"], check=True, capture_output=True, text=True).stdout
    assert told.startswith("authz ")
