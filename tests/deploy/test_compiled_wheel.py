"""The wheel with a compiled hot path: built reproducibly, recognised, and no worse without it.

It is the wheel of a compiled tree, so that a run of all tests compiles nothing.
"""

import os
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from authz import __version__
from authz.process import hot_path
from tests.support import compiled_tree
from tests.support.deploy import image
from tests.support.deploy.installed import Installed

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
COMPILED = f"authz {__version__} (hot path compiled)\n"
# Says the form of the hot path and the version as the metric does, with the checker imported.
TOLD = (
    "from authz.telemetry.process_catalogue import BUILD; import authz.flows.check as one;"
    "print(BUILD.series[0]['hot_path'], one.__file__.endswith('.py'))"
)


def hook() -> list[str]:
    """Return the modules that pyproject.toml has compiled."""
    project = tomllib.loads((compiled_tree.ROOT / "pyproject.toml").read_text())
    found: list[str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"][
        "include"
    ]
    return found


@pytest.fixture
def wheel() -> Path:
    """Return the wheel of the compiled tree that the tests run from."""
    found = list((compiled_tree.ROOT / "dist").glob("*-linux_*.whl"))
    if hot_path.form() == hot_path.PYTHON or not found:
        pytest.skip("needs a compiled tree: make test-compiled")
    return found[0]


def test_it_is_the_same_at_another_place(wheel, tmp_path, monkeypatch):
    """Sources at another place, with another umask and hash seed, give the same bytes."""
    monkeypatch.setenv("PYTHONHASHSEED", "2")  # at random in the first build
    place = tmp_path / "a b"
    place.mkdir()
    umask = os.umask(0o077)
    try:
        again = compiled_tree.wheel(place)
    finally:
        os.umask(umask)
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_it_has_each_module_in_both_forms(wheel):
    """Each module of the list is compiled and has its source. No path of the build is inside."""
    with zipfile.ZipFile(wheel) as archive:
        compiled = {name: archive.read(name) for name in archive.namelist() if ".so" in name}
        sources = {name for name in archive.namelist() if name.endswith(".py")}
    ours = {name.removesuffix(SUFFIX) + ".py" for name in compiled if name.startswith("authz/")}
    assert ours == set(hook())
    assert ours <= sources
    for name, content in compiled.items():
        for path in (str(wheel.parents[1]), "/tmp/", str(compiled_tree.ROOT)):
            assert path.encode() not in content, name


def test_it_says_that_it_is_compiled_until_the_modules_are_gone(wheel, tmp_path):
    """The version and the metric tell the form. Without these modules authz runs in Python."""
    found = Installed(wheel, tmp_path / "venv")
    assert found.run("authz", "--version") == COMPILED
    assert found.run("python", "-c", TOLD) == "compiled False\n"
    assert "ext_authz" in found.run("authz", "envoy", "snippet")
    for path in found.site.rglob("*.so"):
        path.unlink()
    assert found.run("authz", "--version") == f"authz {__version__}\n"
    assert found.run("python", "-c", TOLD) == "python True\n"
    assert "ext_authz" in found.run("authz", "envoy", "snippet")


def test_the_module_that_tells_the_form_is_compiled() -> None:
    """The module is in the list, so it is compiled if and only if the others are."""
    assert f"{hot_path.MODULE.replace('.', '/')}.py" in hook()


def test_a_missing_compiler_is_one_line(tmp_path, monkeypatch):
    """The line names what is missing and what to install, and nothing is built."""
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    with pytest.raises(SystemExit) as told:
        compiled_tree.wheel(tmp_path)
    line = str(told.value)
    assert "no-such-compiler and the headers of Python 3." in line
    assert f"apt-get install {compiled_tree.PACKAGES}" in line
    assert "\n" not in line
    assert not list(tmp_path.iterdir())


@image.needs_compiler
def test_a_compiler_without_the_headers_of_c_is_one_line(tmp_path, monkeypatch):
    """Debian's package gcc does not need libc6-dev, without which nothing can be compiled."""
    assert compiled_tree.compiles([image.GCC], Path(sysconfig.get_path("include")))
    bare = tmp_path / "gcc"
    bare.write_text(f'#!/bin/sh\nexec {image.GCC} -nostdinc "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(image, "GCC", str(bare))
    assert not image.may_compile()
    monkeypatch.setenv("CC", str(bare))
    with pytest.raises(SystemExit, match=r"lacks the headers of C \(stdio\.h\)\. .*libc6-dev"):
        compiled_tree.require_compiler()


def test_a_hook_that_is_turned_off_is_one_line(tmp_path, monkeypatch):
    """The build ends with a wheel of pure Python, which is not taken for a compiled one."""
    monkeypatch.setenv("HATCH_BUILD_NO_HOOKS", "1")
    with pytest.raises(SystemExit, match=r"is turned off$"):
        compiled_tree.wheel(tmp_path)
