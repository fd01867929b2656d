"""The image, built by buildah from deploy/Dockerfile on a Debian that debootstrap makes."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz import __version__
from tests.support.deploy import image
from tests.support.docs import ROOT

PROGRAMS = ("buildah", "debootstrap")
NAME, TAG = "python", "3.11-slim-bookworm"
# What the official image has beside Python: the libraries that its modules are linked to.
PACKAGES = "ca-certificates,libbz2-1.0,libffi8,liblzma5,libsqlite3-0,libssl3,zlib1g,libreadline8"
MIRROR = "http://deb.debian.org/debian"

pytestmark = [
    image.needs_namespaces,
    pytest.mark.timeout(1800),
    *(
        pytest.mark.skipif(shutil.which(name) is None, reason=f"needs Debian's package {name}")
        for name in PROGRAMS
    ),
]


class Buildah:
    """buildah with a storage of its own, without a daemon and without overlay mounts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._words = ["buildah", "--root", str(directory / "storage")]
        self._words += ["--runroot", str(directory / "run"), "--storage-driver", "vfs"]

    def run(self, *words: str) -> str:
        """Run a command and return what it printed. Raises AssertionError if it fails."""
        own = os.environ | {"BUILDAH_ISOLATION": "chroot"}
        done = subprocess.run(
            [*self._words, *words], check=False, capture_output=True, text=True, cwd=ROOT, env=own
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    def base(self) -> None:
        """Make the base image: a small Debian, with this Python at /usr/local."""
        system = self.directory / "debian"
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm"]
        subprocess.run([*command, str(system), MIRROR], check=True, stdout=subprocess.DEVNULL)
        image.copy_python(system)
        subprocess.run(["chroot", str(system), "ldconfig"], check=True)
        made = self.run("from", "scratch")
        self.run("add", "--quiet", made, str(system), "/")
        self.run("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", made)
        self.run("commit", "--quiet", made, f"{NAME}:{TAG}")

    def build(self, tag: str, **arguments: str) -> Path:
        """Build the image, as `docker build` does, and return the root of a container of it.

        arguments: those of `--build-arg`.
        """
        said = image.index()
        options = {name: value for name, value in said.items() if name.startswith("PIP_")}
        lines = [
            f"{name[4:].lower().replace('_', '-')} = {value}" for name, value in options.items()
        ]
        file = self.directory / "pip.conf"
        file.write_text("\n".join(["[global]", *lines, ""]))
        words = ["--volume", f"{file}:/etc/pip.conf:ro"]
        words += ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
        arguments["PYTHON"] = TAG  # without the digest of the official image
        arguments |= {name: said[name] for name in said.keys() - options.keys()}
        for name, value in arguments.items():
            words += ["--build-arg", f"{name}={value}"]
        words += ["--pull-never", "--no-cache", "--timestamp", "0"]
        words += ["--file", "deploy/Dockerfile"]
        self.run("bud", *words, "--tag", tag, ".")
        return Path(self.run("mount", self.run("from", "--pull-never", tag)))


@pytest.fixture(scope="module")
def buildah() -> Iterator[Buildah]:
    """Yield buildah with the base image."""
    directory = Path(tempfile.mkdtemp(prefix="authz-buildah-"))
    made = Buildah(directory)
    made.base()
    yield made
    made.run("rm", "--all")
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def root(buildah: Buildah) -> Path:
    """Return the file system of the built image."""
    return buildah.build("authz:first")


def test_the_image_says_what_it_is(buildah: Buildah, root: Path) -> None:
    """Labels, user, entry point and health check are those of the Dockerfile."""
    found = json.loads(buildah.run("inspect", "--type", "image", "authz:first"))
    config = found["OCIv1"]["config"]
    labels = config["Labels"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == (
        "65532:65532",
        ["authz"],
        ["serve"],
    )


def test_authz_runs_in_it(buildah: Buildah, root: Path) -> None:
    """The command starts as the image's user, and pip is not there."""
    container = buildah.run("from", "--pull-never", "authz:first")
    assert buildah.run("run", container, "--", "authz", "--version") == f"authz {__version__}"
    assert buildah.run("run", container, "--", "python", "-c", "import os; print(os.getuid())") == (
        "65532"
    )
    assert not list((root / "usr/local/bin").glob("pip*"))


def test_two_builds_are_the_same_image(buildah: Buildah, root: Path) -> None:
    """A second build, without a cache, has the files of the first one and the same digest."""
    first, second = (files(one / "opt") for one in (root, buildah.build("authz:second")))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    tags = ("authz:first", "authz:second")
    digests = {buildah.run("images", "--format", "{{.Digest}}", tag) for tag in tags}
    assert len(digests) == 1


def test_the_hot_path_can_be_compiled(buildah: Buildah) -> None:
    """`--build-arg COMPILED=yes` compiles it, and the image has no compiler."""
    root = buildah.build("authz:compiled", COMPILED="yes")
    container = buildah.run("from", "--pull-never", "authz:compiled")
    said = buildah.run("run", container, "--", "authz", "--version")
    assert said == f"authz {__version__} (hot path compiled)"
    assert not [name for name in ("gcc", "cc", "ld") if (root / "usr/bin" / name).exists()]
    assert "-linux_" in (root / "opt/authz/provenance.sha256").read_text()


def files(directory: Path) -> dict[str, tuple[int, str]]:
    """Return the mode and the content of everything below a directory."""
    return {
        str(path.relative_to(directory)): (path.lstat().st_mode, _content(path))
        for path in sorted(directory.rglob("*"))
    }


def _content(path: Path) -> str:
    if path.is_symlink():
        return os.readlink(path)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
