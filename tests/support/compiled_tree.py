"""Compile the hot path: `python -m tests.support.compiled_tree DIRECTORY`.

DIRECTORY becomes a tree beside this one: our package with its modules of the hot path compiled by
mypyc, as the build hook of pyproject.toml does it for a wheel, and links to everything else. Run
tests and benchmarks from there. The tree is built anew each time, so it is never older than its
sources. It needs a C compiler.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("authz", "pyproject.toml", "README.md", "LICENSE", "envoy.yaml")
NOT_LINKED: Final = {"dist", ".git", "__pycache__"}
HOOK: Final = {"HATCH_BUILD_HOOK_ENABLE_MYPYC": "1"}


def build(directory: Path, source: Path = ROOT) -> Path:
    """Make the tree, and return its wheel. What stood in `directory` is removed.

    Raises SystemExit with the end of the build's output if it fails.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for path in source.iterdir():
        if path.name in COPIED:
            if path.is_dir():
                shutil.copytree(
                    path, directory / path.name, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(path, directory)
        elif path.name not in NOT_LINKED and path.resolve() != directory.resolve():
            (directory / path.name).symlink_to(path.resolve())
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        "dist",
    ]
    done = subprocess.run(
        command,
        check=False,
        cwd=directory,
        env=os.environ | HOOK,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit("the hot path was not compiled:\n" + (done.stdout + done.stderr)[-2000:])
    (wheel,) = (directory / "dist").glob("*.whl")
    return wheel


def main() -> None:
    """Build the tree that the command line names."""
    directory = Path(sys.argv[1])
    wheel = build(directory)
    modules = sum(1 for _ in (directory / "authz").rglob("*.so"))
    print(f"compiled {modules} modules into {directory}; the wheel is {wheel}")


if __name__ == "__main__":
    main()
