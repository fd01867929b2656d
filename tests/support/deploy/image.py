"""Build and run deploy/Dockerfile without Docker.

A stage is a directory. `FROM python` is the read-only system of this machine with a copy of this
Python at /usr/local, as in the official image. COPY copies, and RUN runs under chroot. Commands run
as the Dockerfile's USER on a read-only file system.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.support import compiled_tree

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
GCC = "/usr/bin/gcc"  # in each stage too
SYSTEM = tuple(
    part
    for part in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/include", "etc", "dev", "proc")
    if Path("/", part).exists()
)
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
# Settings by which this machine reaches a package index.
INDEX = re.compile(
    r"(?i)(PIP_(?!FIND_LINKS).*|(HTTPS?|NO|ALL)_PROXY|SSL_CERT_.*|REQUESTS_CA_BUNDLE)"
)
PATIENT = {"PIP_RETRIES": "10", "PIP_TIMEOUT": "60"}
SKIPPED = shutil.ignore_patterns("__pycache__", "*.so")  # .dockerignore
NOT_IN_THE_IMAGE = shutil.ignore_patterns(
    "test", "__pycache__", "site-packages", "config-*", "*.a", "EXTERNALLY-MANAGED"
)


def may_mount() -> bool:
    """Return whether this user may make mounts of its own."""
    if shutil.which("unshare") is None:
        return False
    trial = ["unshare", "--mount", "mount", "--bind", "/usr", "/mnt"]
    return not subprocess.run(trial, check=False, capture_output=True).returncode


needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not may_mount(), reason="needs root and mount namespaces (unshare)"
)


def may_compile() -> bool:
    """Return whether this machine lends a stage a C compiler and the headers of C and Python.

    Without them only COMPILED=no can be built: apt-get of a stage would write into this machine.
    """
    headers = Path(sys.base_prefix) / "include" / PYTHON
    return Path(GCC).exists() and compiled_tree.compiles([GCC], headers)


needs_compiler = pytest.mark.skipif(
    not may_compile(), reason=f"needs a C compiler: Debian's packages {compiled_tree.PACKAGES}"
)


@dataclass
class Stage:
    """One stage: FROM and the instructions after it."""

    directory: Path
    workdir: str = "/"
    user: str = "0:0"
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin"})
    arguments: dict[str, str] = field(default_factory=dict)  # ARG
    said: dict[str, str] = field(
        default_factory=dict
    )  # the last of each instruction without a field

    def list(self, instruction: str) -> list[str]:
        """Return an instruction in JSON form, such as CMD."""
        return json.loads(re.search(r"\[.*\]", self.said[instruction])[0])


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile: name and arguments."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line]


def index() -> dict[str, str]:
    """Return the environment variables for a package index."""
    own = {name: value for name, value in os.environ.items() if INDEX.fullmatch(name)}
    return PATIENT | own


def included() -> list[str]:
    """Return the paths that .dockerignore includes."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line[1:] for line in lines if line.startswith("!")]


def build(directory: Path, **arguments: str) -> Stage:
    """Build every stage below `directory` and return the last one.

    arguments: those of `--build-arg`.
    """
    stages: dict[str, Stage] = {}
    stage = Stage(directory)  # ARG before the first FROM
    for word, said in instructions():
        match word:
            case "FROM":
                name = said.partition(" AS ")[2] or "image"
                stage = stages[name] = Stage(directory / name)
                base(stage.directory)
            case "WORKDIR":
                stage.workdir = said
                _inside(stage.directory, said).mkdir(parents=True, exist_ok=True)
            case "COPY":
                _copy(stage, said, stages)
            case "ARG":
                name, _, default = said.partition("=")
                stage.arguments[name] = arguments.get(name, default)
            case "RUN":
                building = replace(stage, env=index() | stage.arguments | stage.env)
                run(building, ["sh", "-euc", said], read_only=False).check_returncode()
            case "ENV":
                stage.env |= dict(pair.split("=", 1) for pair in shlex.split(said))
            case "USER":
                stage.user = said
            case _:
                stage.said[word] = said
    return stage


def run(stage: Stage, command: list[str], *, read_only: bool = True, **options):
    """Run a command in a stage and wait for it."""
    return subprocess.run(confined(stage, command, read_only=read_only), check=False, **options)


def confined(stage: Stage, command: list[str], *, read_only: bool = True) -> list[str]:
    """Return a command that runs `command` in a stage as its user."""
    root = stage.directory
    mounts = [f"mount --rbind /{part} {root}/{part}" for part in SYSTEM]
    if read_only:
        mounts += [f"mount --bind {root} {root}.ro", f"mount -o remount,ro,bind {root}.ro"]
        mounts += [f"mount --rbind /{part} {root}.ro/{part}" for part in SYSTEM]
        mounts += [f"mount -o remount,ro,bind {root}.ro/etc"]
        Path(f"{root}.ro").mkdir(exist_ok=True)
        root = Path(f"{root}.ro")
    user, group = stage.user.split(":")
    env = [f"{name}={value}" for name, value in stage.env.items()]
    as_user = f"setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs"
    # This Python may have been built for another prefix than /usr/local.
    inner = f"cd {stage.workdir}; exec env -i LD_LIBRARY_PATH=/usr/local/lib {shlex.join(env)} "
    inner += f"{as_user if user != '0' else ''} {shlex.join(command)}"
    script = "\n".join(["set -e", *mounts, f"exec chroot {root} sh -c {shlex.quote(inner)}"])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


def base(root: Path) -> None:
    """Make the base system in a directory: mount points, links and Python."""
    for part in (*SYSTEM, "tmp", "opt", "usr/local/bin", "usr/local/lib"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    copy_python(root)


def copy_python(root: Path) -> None:
    """Copy this Python and pip into `root` at /usr/local, as in the official image."""
    prefix, local = Path(sys.base_prefix), root / "usr/local"
    headers = f"include/{PYTHON}"
    (local / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy2(prefix / "bin" / PYTHON, local / "bin" / PYTHON)
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to(PYTHON)
    shutil.copytree(prefix / "lib" / PYTHON, local / "lib" / PYTHON, ignore=NOT_IN_THE_IMAGE)
    if (prefix / headers).exists():
        shutil.copytree(prefix / headers, local / headers)
    for library in (prefix / "lib").glob("libpython*.so*"):
        shutil.copy2(library, local / "lib", follow_symlinks=False)
    packages = local / "lib" / PYTHON / "site-packages"
    packages.mkdir()
    bundled = sorted((prefix / "lib" / PYTHON / "ensurepip" / "_bundled").glob("pip-*.whl"))
    bundled += sorted(
        Path("/usr/share/python-wheels").glob("pip-*.whl")
    )  # Debian's Python has no bundled wheels
    shutil.unpack_archive(bundled[0], packages, "zip")
    (local / "lib" / PYTHON / "dist-packages").symlink_to(
        "site-packages"
    )  # Debian's Python looks there


def _copy(stage: Stage, said: str, stages: dict[str, Stage]) -> None:
    *sources, target = said.split()
    context = ROOT
    if sources[0].startswith("--from="):
        context = stages[sources.pop(0).removeprefix("--from=")].directory
    for source in sources:
        if context is ROOT and source not in included():
            raise AssertionError(f"{source} is not sent to the builder")
        place = _inside(stage.directory, os.path.join(stage.workdir, target))
        origin = _inside(context, source)
        if origin.is_dir():
            skipped = SKIPPED if context is ROOT else None
            shutil.copytree(origin, place, symlinks=True, ignore=skipped)
        else:
            place = place / origin.name if target.endswith("/") else place
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, place)


def _inside(root: Path, path: str) -> Path:
    return root / os.path.normpath(path).lstrip("/")
