"""The benchmark of the hot path measures the hot path of a sidecar."""

from pathlib import Path

from authz.settings import model
from authz.wiring import components
from tests.bench import check_hot


def built_sidecar(directory: Path) -> components.Components:
    """A sidecar with the settings of most installations, not started."""
    pepper = directory / "pepper"
    pepper.write_bytes(b"1" * 32)
    pepper.chmod(0o600)
    given = {
        "check": {"listen": "127.0.0.1:0"},
        "redis": {"url": "redis://127.0.0.1:1"},
        "keys": {"peppers": [{"version": "1", "file": str(pepper)}]},
    }
    return components.build(model.load(None, given, {}), None)


def kinds(part: object) -> dict[str, type]:
    """The type of each attribute, so that a part that is left out shows."""
    return {name: type(value) for name, value in vars(part).items()}


def test_the_checker_is_composed_as_in_a_sidecar(tmp_path):
    """A limiter or a clock that the benchmark left out would hide what it costs."""
    built = built_sidecar(tmp_path)
    built.server._listener.close_sockets()
    hot = check_hot.Hot()
    names = {"_refutes", "_peek", "_spend", "_decided"}
    assert kinds(hot.checker) == kinds(built.first.checker)
    assert {name: getattr(hot.checker, name).__name__ for name in names} == {
        name: getattr(built.first.checker, name).__name__ for name in names
    }


def test_each_step_is_measured_for_both_header_forms():
    """The measured request is an allow from the cache, and each published step has a figure."""
    found = check_hot.run(repeats=1, number=1)
    assert set(found["forms"]) == {"map", "raw"}
    figures = check_hot.published_of(found["forms"])
    assert {f"step.{name}" for name in check_hot.STEPS} < set(figures)
