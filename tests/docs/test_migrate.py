"""The commands of docs/migrate.md, typed into a shell, print what the page shows."""

import os
import re
import sys

import pytest

from tests.docs.test_tour import begun
from tests.support.docs import ROOT
from tests.support.docs.console import Step, agree, run, steps

STEPS = steps((ROOT / "docs/migrate.md").read_text())
SECONDS = 100.0


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the output of each command, all of them typed into one shell in their order."""
    directory = tmp_path_factory.mktemp("migrate")
    (directory / ".venv").symlink_to(sys.prefix)
    (directory / "docs").symlink_to(ROOT / "docs")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTHZ_")}
    path = f"{sys.prefix}/bin:{kept['PATH']}"
    environment = kept | {"AUTHZ_ACTOR": "you@laptop", "TERM": "xterm", "PATH": path}
    commands = [step.command for step in STEPS]
    with begun(directory, environment) as welcome:
        (paste,) = re.findall(r"^ *(export .*)$", welcome, re.MULTILINE)
        _, *outputs = run([paste, *commands], directory, environment, SECONDS)
    return dict(zip(commands, outputs, strict=False))


@pytest.mark.timeout(300)
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
