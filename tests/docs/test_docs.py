"""The pages are true: generated parts are current, links lead somewhere, commands can be typed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli.commands import misunderstood
from tests.support.deploy.rules import ALERTS, OBJECTIVES
from tests.support.docs import ROOT
from tests.support.docs.markdown import anchors, commands_in, language_of_blocks, links_in
from tests.support.docs.pages import pages, rendered

OBJECTIVES_PAGE = (ROOT / "deploy" / "prometheus" / "README.md").read_text()
RUN_BOOK = "docs/operations.md"
# A home directory, or the place of a build.
MACHINE_PATH = re.compile(r"(?<![\w.}])/(home|Users|root|work|mnt|builds)/\w+")
LANGUAGES = {"console", "sh", "yaml", "http", "json", "text", "python", "go"}

PAGES = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


@PAGES
def test_the_generated_parts_are_current(page: Path) -> None:
    """Settings, commands, metrics, reasons, figures and included files are as the code has them.

    `make docs` writes them.
    """
    text = page.read_text()
    assert text == rendered(text)


@PAGES
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link names a file of the project and, after #, a heading of it."""
    wrong = []
    for path, anchor in links_in(page.read_text()):
        if ":" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            wrong.append(path)
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
            wrong.append(f"{path}#{anchor}")
    assert not wrong


@PAGES
def test_every_command_can_be_typed(page: Path) -> None:
    """Commands and options that a page shows exist."""
    wrong = [(line, misunderstood(line)) for line in commands_in(page.read_text())]
    assert not [f"{line}: {word}" for line, word in wrong if word]


@PAGES
def test_every_block_has_a_language(page: Path) -> None:
    """A block of commands is found by its language, so each block has one of a few."""
    assert language_of_blocks(page) <= LANGUAGES


def test_the_front_page_fits_on_a_screen_or_three() -> None:
    """README.md has at most 160 lines."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


def test_the_index_lists_each_decision_by_its_number_and_title() -> None:
    """Each number is given once, and the index has the number and the title of each page."""
    folder = ROOT / "docs" / "decisions"
    titles = {page.name: page.read_text().split("\n")[0] for page in folder.glob("[0-9]*.md")}
    listed = re.findall(r"^- \[(.+)\]\((.+)\)$", (folder / "index.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted((title[2:], name) for name, title in titles.items())
    assert [title[2:4] for title in sorted(titles.values())] == [
        f"{number:02}" for number in range(1, len(titles) + 1)
    ]
    assert all(title[2:4] == name[:2] for name, title in titles.items())


def test_the_map_names_files_that_exist() -> None:
    """Every path in backquotes in authz/README.md is a file or a folder of the project."""
    named = re.findall(
        r"`((?:authz|tests|deploy|docs|core|flows|storage|rpc|cli|proxy|telemetry|"
        r"settings|process|wiring|console)/[\w./*-]*)`",
        (ROOT / "authz" / "README.md").read_text(),
    )
    assert named
    lost = [
        path
        for path in named
        if not (list(ROOT.glob(path.rstrip("/"))) or list((ROOT / "authz").glob(path.rstrip("/"))))
    ]
    assert not lost


def texts() -> Iterator[Path]:
    """Yield every text of the project that people read."""
    for file in sorted(ROOT.rglob("*")):
        inside = file.relative_to(ROOT).parts
        hidden = any(part.startswith(".") for part in inside[:-1]) or "__pycache__" in inside
        hidden = hidden or file.name == ".git"  # a worktree has one
        if file.is_file() and not hidden and file.suffix not in {".pyc", ".png", ".so"}:
            yield file


def test_no_text_names_a_path_of_one_machine() -> None:
    """Paths of a home directory or of a build hold on one machine only."""
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in texts()
        for match in MACHINE_PATH.finditer(file.read_text(errors="replace"))
    ]
    assert not found


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_names_its_section_of_the_run_book(alert: str) -> None:
    """The address is a heading of docs/operations.md, as the table of objectives says too."""
    rule = ALERTS[alert]
    book, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    severity = rule["labels"]["severity"]
    assert book == RUN_BOOK
    assert f"| `{alert}` | {severity} | `{anchor}` |" in OBJECTIVES_PAGE
    assert anchor in anchors((ROOT / RUN_BOOK).read_text())


def test_the_table_of_alerts_has_no_others() -> None:
    """An alert that is gone from the rules is gone from the table."""
    assert set(re.findall(r"^\| `(Authz\w+)`", OBJECTIVES_PAGE, re.MULTILINE)) == set(ALERTS)


@pytest.mark.parametrize("sli", OBJECTIVES)
def test_every_objective_is_in_the_documents(sli: str) -> None:
    """The table of objectives shows the figure of the rules."""
    assert re.search(rf"^\| `{sli}` \|.*\| {OBJECTIVES[sli]:g} \|$", OBJECTIVES_PAGE, re.MULTILINE)
