"""A sidecar runs the modules of the tree that its tests run from: compiled ones, or pure Python."""

import importlib
import time
import tomllib
from pathlib import Path

import pytest

from tests.support.real import Valkey
from tests.support.serving import PATIENCE, Serving


def hot_path(tree: Path) -> list[str]:
    """Return the modules that the build hook compiles, as paths from the tree."""
    build = tomllib.loads((tree / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    found: list[str] = build["targets"]["wheel"]["hooks"]["mypyc"]["include"]
    return found


def is_compiled(tree: Path) -> bool:
    """Return whether it is a tree that `make compiled` made: one with links to the tests."""
    return (tree / "tests").is_symlink()


def test_these_tests_have_the_modules_of_this_tree(pytestconfig: pytest.Config) -> None:
    """In a compiled tree every module of the hot path is compiled, in another one none.

    A build with the hook leaves compiled modules beside the sources. Python prefers them, also when
    the sources have changed; `make clean` removes them.
    """
    tree = pytestconfig.rootpath
    suffix = ".so" if is_compiled(tree) else ".py"
    names = [path.removesuffix(".py").replace("/", ".") for path in hot_path(tree)]
    files = [Path(importlib.import_module(name).__file__ or "") for name in names]
    assert len(files) > 20
    assert {file.suffix for file in files} == {suffix}
    assert all(file.is_relative_to(tree) for file in files)


def test_a_started_sidecar_has_the_modules_of_this_tree(
    pytestconfig: pytest.Config, tmp_path: Path, valkey: Valkey
) -> None:
    """In a compiled tree it has mapped the code of the compiled modules, in another one none.

    Without this, the tests of a compiled tree could start sidecars of pure Python.
    """
    tree = pytestconfig.rootpath
    built = {str(path) for path in tree.glob("*__mypyc.*.so")}
    with Serving(tmp_path, valkey) as sidecar:
        deadline = time.monotonic() + PATIENCE
        while sidecar.look("/healthz")[0] == 0:
            assert time.monotonic() < deadline, sidecar.log.read_text()
            time.sleep(0.01)
        maps = Path(f"/proc/{sidecar.pid}/maps").read_text()
    mapped = {line.split(maxsplit=5)[-1] for line in maps.splitlines()}
    shims = {path for path in mapped if "/authz/" in path and path.endswith(".so")}
    assert bool(built) is is_compiled(tree)
    assert {path for path in mapped if "__mypyc." in path} == built
    assert any("/flows/check." in path for path in shims) is bool(built)
