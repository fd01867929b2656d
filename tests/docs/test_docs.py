"""What the documents say is true, and what there is to say is said."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.core.decision import Reason
from authz.rpc.check.reason_table import TABLE
from tests.support.cli.commands import misunderstood
from tests.support.deploy.rules import ALERTS, OBJECTIVES
from tests.support.docs.markdown import FENCED, anchors
from tests.support.settings import settings_names

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
OBJECTIVES_PAGE = (ROOT / "deploy" / "prometheus" / "README.md").read_text()
RUN_BOOK = ROOT / "deploy" / "README.md"
MAP = (ROOT / "authz" / "README.md").read_text()

UNNAMED = {"__init__.py", "py.typed", "README.md"}
# Somebody's home, or where a build happened to run.
MACHINE_PATH = re.compile(r"(?<![\w.}])/(home|Users|root|work|mnt|builds)/\w+")


@pytest.mark.parametrize("name", settings_names())
def test_every_setting_is_in_the_readme(name: str) -> None:
    """By its dotted name."""
    assert f"`{name}`" in README


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_in_the_readme(reason: Reason) -> None:
    """As the logs call it, and as its callers see it."""
    assert f"`{reason.value}`" in README
    assert f"`{TABLE[reason].code}`" in README


def named_paths() -> list[str]:
    """The paths in the tree of authz/README.md: folders end with a slash, `*` may stand in them."""
    tree = next((block for block in FENCED.findall(MAP) if block.startswith("authz/\n")), "")
    paths: list[str] = []
    folders: list[tuple[int, str]] = [(-1, "")]
    for line in tree.splitlines():
        indentation = len(line) - len(line.lstrip())
        name = line.split()[0] if line.strip() else ""
        while folders[-1][0] >= indentation:
            folders.pop()
        if re.fullmatch(r"[\w*.-]+(/[\w*.-]+)*/?", name) and name.strip("."):
            paths.append(folders[-1][1] + name)
            if name.endswith("/"):
                folders.append((indentation, paths[-1]))
    return paths


def files_of_the_package() -> Iterator[str]:
    """Every file of the package, from the root of the project."""
    for file in sorted((ROOT / "authz").rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts and file.name not in UNNAMED:
            yield file.relative_to(ROOT).as_posix()


def test_the_map_has_a_tree() -> None:
    """authz/README.md shows the package as an indented tree that begins with `authz/`."""
    assert "authz/" in named_paths()


def test_every_path_in_the_map_exists() -> None:
    """A file that was moved is moved in the map, too."""
    assert not [path for path in named_paths() if not list(ROOT.glob(path.rstrip("/")))]


def test_every_file_is_in_the_map() -> None:
    """By its name, or because it lies in a folder that is named without what is in it."""
    named = named_paths()
    listed = {
        folder for path in named for folder in named if folder != path and path.startswith(folder)
    }
    whole = tuple(path for path in named if path.endswith("/") and path not in listed)
    files = {file.relative_to(ROOT).as_posix() for path in named for file in ROOT.glob(path)}
    lost = [file for file in files_of_the_package() if file not in files]
    assert not [file for file in lost if not (whole and file.startswith(whole))]


def texts() -> Iterator[Path]:
    """Every text of the project that people read."""
    for file in sorted(ROOT.rglob("*")):
        inside = file.relative_to(ROOT).parts
        hidden = any(part.startswith(".") for part in inside[:-1]) or "__pycache__" in inside
        hidden = hidden or file.name == ".git"  # what a worktree has
        if file.is_file() and not hidden and file.suffix not in {".pyc", ".png", ".so"}:
            yield file


def test_no_text_names_a_path_of_somebody_s_machine() -> None:
    """What is written here holds on every machine."""
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in texts()
        for match in MACHINE_PATH.finditer(file.read_text(errors="replace"))
    ]
    assert not found


def commands_in(text: str) -> Iterator[str]:
    """Lines of blocks, and words in backquotes, that begin with `authz `; a prompt may precede."""
    for block in FENCED.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.match(r"\s*(?:[$%] )?((?:[A-Z_]+=\S+ )*)(authz [^\[\]]*)", line):
                yield found[2]
    yield from re.findall(r"`(authz [^`\n\[\]]+)`", FENCED.sub("", text))


def test_the_readme_shows_commands() -> None:
    """Who reads it can start."""
    assert any(line.startswith("authz keys issue") for line in commands_in(README))


@pytest.mark.parametrize("document", ["README.md", "authz/README.md", "deploy/README.md"])
def test_every_command_in_the_documents_can_be_typed(document: str) -> None:
    """Commands and options that are written down exist."""
    text = (ROOT / document).read_text()
    wrong = [(line, misunderstood(line)) for line in commands_in(text)]
    assert not [f"{line}: {word}" for line, word in wrong if word]


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_where_its_run_book_is(alert: str) -> None:
    """A heading of deploy/README.md, named in the table of deploy/prometheus/README.md, too."""
    rule = ALERTS[alert]
    book, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    severity = rule["labels"]["severity"]
    assert book == "deploy/README.md"
    assert f"| `{alert}` | {severity} | `{anchor}` |" in OBJECTIVES_PAGE
    assert anchor in anchors(RUN_BOOK.read_text())


def test_no_alert_is_only_in_the_table() -> None:
    """One that is gone is gone there, too."""
    assert set(re.findall(r"^\| `(Authz\w+)`", OBJECTIVES_PAGE, re.MULTILINE)) == set(ALERTS)


@pytest.mark.parametrize("sli", OBJECTIVES)
def test_every_objective_is_in_the_documents(sli: str) -> None:
    """With its figure."""
    assert re.search(rf"^\| `{sli}` \|.*\| {OBJECTIVES[sli]:g} \|$", OBJECTIVES_PAGE, re.MULTILINE)
