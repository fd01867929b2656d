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
NAME, TAG, TAG_WITH_GCC = "python", "3.11-slim-bookworm", "3.11-bookworm"
# What the official image has beside Python: the libraries that its modules are linked to.
PACKAGES = "ca-certificates,libbz2-1.0,libffi8,liblzma5,libsqlite3-0,libssl3,zlib1g,libreadline8"
MIRROR = "http://deb.debian.org/debian"
UNREACHABLE = "deb http://127.0.0.1:9/debian bookworm main\n"

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
        done = self.end(*words)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    def end(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command and return its end, also if it fails."""
        own = os.environ | {"BUILDAH_ISOLATION": "chroot"}
        return subprocess.run(
            [*self._words, *words], check=False, capture_output=True, text=True, cwd=ROOT, env=own
        )

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

    def base_with_gcc(self) -> None:
        """Make a base image with Debian's compiler, as the full official image has one."""
        made = self.run("from", "--pull-never", f"{NAME}:{TAG}")
        self.run("run", made, "--", "apt-get", "update", "-qq")
        install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends")
        self.run("run", made, "--", *install, "gcc", "libc6-dev")
        self.run("commit", "--quiet", made, f"{NAME}:{TAG_WITH_GCC}")

    def build(self, tag: str, *words: str, **arguments: str) -> Path:
        """Build the image, as `docker build` does, and return the root of a container of it.

        words: options of buildah.
        arguments: those of `--build-arg`.
        """
        self.run("bud", *self._options(arguments), *words, "--tag", tag, ".")
        return Path(self.run("mount", self.run("from", "--pull-never", tag)))

    def failed_build(self, *words: str, **arguments: str) -> str:
        """Build the image and return the errors. Raises AssertionError if it does not fail."""
        done = self.end("bud", *self._options(arguments), *words, ".")
        assert done.returncode != 0
        return done.stderr

    def unreachable_mirror(self) -> tuple[str, str]:
        """Return options of a build that reaches no Debian mirror."""
        file = self.directory / "sources.list"
        file.write_text(UNREACHABLE)
        return "--volume", f"{file}:/etc/apt/sources.list:ro"

    def _options(self, arguments: dict[str, str]) -> list[str]:
        said = image.index()
        options = {name: value for name, value in said.items() if name.startswith("PIP_")}
        lines = [
            f"{name[4:].lower().replace('_', '-')} = {value}" for name, value in options.items()
        ]
        file = self.directory / "pip.conf"
        file.write_text("\n".join(["[global]", *lines, ""]))
        words = ["--volume", f"{file}:/etc/pip.conf:ro"]
        words += ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
        given = {name: said[name] for name in said.keys() - options.keys()}
        given |= {"PYTHON": TAG} | arguments  # without the digest of the official image
        for name, value in given.items():
            words += ["--build-arg", f"{name}={value}"]
        words += ["--pull-never", "--no-cache", "--timestamp", "0"]
        return [*words, "--file", "deploy/Dockerfile"]


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
    """The command starts as the image's user with a compiled hot path; no pip, no compiler."""
    container = buildah.run("from", "--pull-never", "authz:first")
    said = buildah.run("run", container, "--", "authz", "--version")
    assert said == f"authz {__version__} (hot path compiled)"
    assert buildah.run("run", container, "--", "python", "-c", "import os; print(os.getuid())") == (
        "65532"
    )
    assert not list((root / "usr/local/bin").glob("pip*"))
    assert not [name for name in ("gcc", "cc", "ld") if (root / "usr/bin" / name).exists()]
    assert "-linux_" in (root / "opt/authz/provenance.sha256").read_text()


def test_two_builds_are_the_same_image(buildah: Buildah, root: Path) -> None:
    """A second build has the files of the first one and the same digest.

    It has no cache and reaches no mirror: the same compiler is in the base of its build stage.
    """
    buildah.base_with_gcc()
    again = buildah.build("authz:second", *buildah.unreachable_mirror(), BUILD_PYTHON=TAG_WITH_GCC)
    first, second = (files(one / "opt") for one in (root, again))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    tags = ("authz:first", "authz:second")
    digests = {buildah.run("images", "--format", "{{.Digest}}", tag) for tag in tags}
    assert len(digests) == 1


def test_an_unreachable_mirror_names_the_way_without_one(buildah: Buildah) -> None:
    """The build ends with a line that names COMPILED=no."""
    told = buildah.failed_build(*buildah.unreachable_mirror())
    (line,) = [line for line in told.splitlines() if line.startswith("no C compiler: ")]
    assert "--build-arg COMPILED=no" in line


def test_it_can_be_pure_python(buildah: Buildah) -> None:
    """`--build-arg COMPILED=no` compiles nothing, and needs no mirror."""
    root = buildah.build("authz:pure", *buildah.unreachable_mirror(), COMPILED="no")
    container = buildah.run("from", "--pull-never", "authz:pure")
    said = buildah.run("run", container, "--", "authz", "--version")
    assert said == f"authz {__version__}"
    assert not list((root / "opt/authz").glob("lib/python3*/site-packages/authz/**/*.so"))
    assert "-py3-none-any.whl" in (root / "opt/authz/provenance.sha256").read_text()


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
