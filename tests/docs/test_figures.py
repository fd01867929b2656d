"""Every measurement is published once: pages take its value from docs/figures.json."""

import json
import re
from pathlib import Path

import pytest

from tests.bench import figures
from tests.support.docs import ROOT
from tests.support.docs.markdown import written
from tests.support.docs.pages import PART, pages

NAMES = figures.published()
# A number with the unit of a measurement. Settings and promises stand in backquotes or in parts.
MEASURED = re.compile(
    r"\d[\d.,]* ?(?:µs|MB\b|MiB\b|(?:calls|requests|Checks|lookups)(?: a second|/s)|/s\b)|"
    r"p(?:50|99)\D{0,12}\d[\d.,]* ?m?s\b"
)
UNMARKED = [page for page in pages() if "decisions" not in page.parts]


def test_no_quantity_is_published_twice() -> None:
    """The description of each figure is its own, and so is its value."""
    described = [(figure.about, figure.command) for figure in NAMES.values()]
    assert len(described) == len(set(described))


@pytest.mark.parametrize("page", UNMARKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_takes_measurements_from_the_file(page: Path) -> None:
    """A measured value outside a figure's marks could differ from the published one."""
    text = re.sub(r"`[^`]*`", "", PART.sub("", written(page.read_text())))
    assert not MEASURED.findall(text)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_measured_by_a_command_that_exists(name: str) -> None:
    """The command is a module of the tests or a target of the Makefile."""
    command = NAMES[name].command
    if module := re.match(r"python -m ([\w.]+)", command):
        path = ROOT.joinpath(*module[1].split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    elif target := re.match(r"make (\w+)", command):
        assert re.search(rf"^{target[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert command == "side by side"


def test_a_recorded_figure_replaces_its_value(tmp_path: Path) -> None:
    """The median of several rounds is kept with their spread; the description stays."""
    file = tmp_path / "figures.json"
    file.write_text(figures.FILE.read_text())
    figures.record({"revocation.p99": [9.87654, 7.0, 8.0]}, file)
    now = json.loads(file.read_text())["revocation.p99"]
    assert (now["value"], now["spread"]) == (8, [7, 9.88])
    assert now["about"] == NAMES["revocation.p99"].about
    assert now["machine"] == figures.machine()


def test_a_recorded_figure_leaves_the_others(tmp_path: Path) -> None:
    """Only the named figure changes."""
    file = tmp_path / "figures.json"
    file.write_text(figures.FILE.read_text())
    figures.record({"revocation.p99": 1.0}, file)
    now = figures.published(file)
    assert {name for name in now if now[name] != NAMES[name]} == {"revocation.p99"}


def test_an_undescribed_figure_is_refused(tmp_path: Path) -> None:
    """A figure without an entry that says what it is about is not recorded."""
    file = tmp_path / "figures.json"
    file.write_text(figures.FILE.read_text())
    with pytest.raises(SystemExit, match=r"made\.up"):
        figures.record({"made.up": 1.0}, file)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(53051, "53,051"), (7.6, "7.6"), (1.0, "1"), (1.008, "1.008"), (143, "143")],
)
def test_a_number_is_shown_in_a_short_form(value: float, shown: str) -> None:
    """Thousands are separated, and a final zero is left out."""
    assert figures.number(value) == shown
