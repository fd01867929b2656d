"""Compile the hot path: `python -m tests.support.compiled_tree DIRECTORY`.

DIRECTORY becomes a tree beside this one: our package with its modules of the hot path compiled by
mypyc, as the build hook of pyproject.toml does it for a wheel, and links to everything else. Run
tests and benchmarks from there. The tree is built anew each time, so it is never older than its
sources.

`--wheel DIRECTORY` keeps the wheel alone. Both need a C compiler and the headers of this Python.
Neither writes into this tree: the hook leaves what it compiled beside the sources.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("authz", "pyproject.toml", "README.md", "LICENSE", "envoy.yaml")
NOT_COPIED: Final = shutil.ignore_patterns("__pycache__", "*.so")
NOT_LINKED: Final = {"dist", ".git", "__pycache__"}
HOOK: Final = {"HATCH_BUILD_HOOK_ENABLE_MYPYC": "1"}
PACKAGES: Final = "gcc libc6-dev python3-dev"
TRIAL: Final = b"#include <stdio.h>\n#include <Python.h>\n"
FAILED: Final = "the hot path was not compiled:"


def build(directory: Path, source: Path = ROOT) -> Path:
    """Make the tree, and return its wheel. What stood in `directory` is removed.

    Raises SystemExit as `wheel` does.
    """
    require_compiler()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for path in source.iterdir():
        if path.name not in NOT_LINKED.union(COPIED) and path.resolve() != directory.resolve():
            (directory / path.name).symlink_to(path.resolve())
    return wheel(directory, source)


def wheel(directory: Path, source: Path = ROOT) -> Path:
    """Copy the sources into a directory, compile them there, and return the wheel, in its `dist`.

    Raises SystemExit with one line if there is no compiler or the hook did not run, and with the
    end of the build's output if the build fails.
    """
    require_compiler()
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, directory / name, ignore=NOT_COPIED)
        else:
            shutil.copy(source / name, directory)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    done = subprocess.run(
        [*command, "--directory", "dist"],
        check=False,
        cwd=directory,
        env=os.environ | HOOK,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{FAILED}\n" + (done.stdout + done.stderr)[-2000:])
    (made,) = (directory / "dist").glob("*.whl")
    if not list(directory.glob("*__mypyc.*.so")):
        raise SystemExit(f"{FAILED} the build hook of pyproject.toml is turned off")
    return made


def compiles(compiler: Sequence[str], headers: Path) -> bool:
    """Return whether a compiler finds the headers of C, and those of Python in `headers`."""
    command = [*compiler, "-fsyntax-only", "-I", str(headers), "-x", "c", "-"]
    return not subprocess.run(command, check=False, input=TRIAL, capture_output=True).returncode


def require_compiler() -> None:
    """Raise SystemExit with one line if the C compiler, or headers of C or Python, are missing."""
    words = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    headers = Path(sysconfig.get_path("include"))
    missing = "" if shutil.which(words[0]) else f"the C compiler {words[0]}"
    if not (headers / "Python.h").exists():
        version = ".".join(map(str, sys.version_info[:2]))
        missing += f"{' and ' if missing else ''}the headers of Python {version} (Python.h)"
    if not missing and not compiles(words, headers):
        missing = "the headers of C (stdio.h)"
    if missing:
        raise SystemExit(
            f"{FAILED} this machine lacks {missing}. On Debian: apt-get install {PACKAGES}"
        )


def main() -> None:
    """Build the tree or the wheel that the command line names."""
    parser = argparse.ArgumentParser(description="Compile the hot path.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--wheel", action="store_true", help="keep the wheel alone")
    given = parser.parse_args()
    directory: Path = given.directory
    if given.wheel:
        with tempfile.TemporaryDirectory(prefix="authz-compiled-") as place:
            made = wheel(Path(place))
            directory.mkdir(parents=True, exist_ok=True)
            shutil.copy(made, directory)
        print(f"compiled the hot path; the wheel is {directory / made.name}")
    else:
        made = build(directory)
        modules = sum(1 for _ in (directory / "authz").rglob("*.so"))
        print(f"compiled {modules} modules into {directory}; the wheel is {made}")


if __name__ == "__main__":
    main()
