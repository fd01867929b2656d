"""The commands of docs/migrate.md, typed into a shell, print what the page shows."""

import sys

import pytest

from tests.support.docs import ROOT
from tests.support.docs.console import Step, agree, steps
from tests.support.docs.tour import played

STEPS = steps((ROOT / "docs/migrate.md").read_text())


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the output of each command, all of them typed into one shell in their order."""
    directory = tmp_path_factory.mktemp("migrate")
    (directory / ".venv").symlink_to(sys.prefix)
    (directory / "docs").symlink_to(ROOT / "docs")
    commands = [step.command for step in STEPS]
    return dict(zip(commands, played(STEPS, directory), strict=False))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.command[:40])
def test_the_page_shows_what_a_command_prints(step: Step, printed: dict[str, str]) -> None:
    """Each import ends with a request that Envoy allows."""
    assert step.command in printed
    assert agree(step.shown, printed[step.command], {}), printed[step.command]


def test_each_file_is_imported() -> None:
    """Every example file has a section."""
    page = (ROOT / "docs/migrate.md").read_text()
    files = sorted(path.name for path in (ROOT / "docs/migrate").iterdir())
    assert files
    assert all(f"docs/migrate/{name}" in page for name in files)
