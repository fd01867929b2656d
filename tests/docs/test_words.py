"""Texts follow CONTRIBUTING.md: no clause as a subject, and docstrings that stand alone."""

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.docs import ROOT
from tests.support.docs.markdown import HIDDEN, LINK, prose, sentences, written
from tests.support.docs.pages import pages

CLAUSE = re.compile(r"(?:What|Who|Whatever|Whoever)\b")
SEE = re.compile(r"See\b")
VALUE_FIRST = re.compile(r"^ *<!--(?:figure|setting) ", re.MULTILINE)
LONGEST_LINE = 120  # characters, without the comments around generated values
LEANING = re.compile(r"(?:Neither|Nor|So|That|It|They)\b")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_begins_with_a_clause(page: Path) -> None:
    """A sentence of a page names the thing that acts: it begins with no What, Who or Whatever."""
    assert [text for text in sentences(prose(page.read_text())) if CLAUSE.match(text)] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_prose_are_short(page: Path) -> None:
    """A line has at most 120 characters, without the target of a link. Rows of tables, code and
    generated parts may be longer.
    """
    lines = [LINK.sub("]", HIDDEN.sub("", line)) for line in written(page.read_text()).splitlines()]
    assert [line for line in lines if len(line) > LONGEST_LINE and "|" not in line] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_begins_with_a_generated_value(page: Path) -> None:
    """A comment at the beginning of a line ends the paragraph, in the site and on code hosts."""
    assert VALUE_FIRST.findall(page.read_text()) == []


def docstrings(file: Path) -> Iterator[tuple[str, str]]:
    """Yield each docstring of a file, with the name of its function, class, module or constant."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield getattr(node, "name", file.stem), text
        if isinstance(node, ast.Module | ast.ClassDef):
            yield from _of_constants(node)


def _of_constants(node: ast.Module | ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield each text that stands below an assignment, with the names that it assigns."""
    for before, after in pairwise(node.body):
        match before, after:
            case (
                ast.Assign() | ast.AnnAssign(),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield ast.unparse(before).partition(" = ")[0], inspect.cleandoc(text)


def files(folder: str) -> list[Path]:
    """Return the Python files of a folder of the project."""
    return sorted(file for file in (ROOT / folder).rglob("*.py") if "pb" not in file.parts)


@pytest.mark.parametrize("folder", ["authz", "tests", "deploy"])
def test_no_docstring_begins_with_a_clause(folder: str) -> None:
    """A docstring begins with an imperative or a noun phrase, not with a clause or a `See`."""
    found = [
        f"{file.relative_to(ROOT)}: {name}: {text.splitlines()[0]}"
        for file in files(folder)
        for name, text in docstrings(file)
        if CLAUSE.match(text) or SEE.match(text)
    ]
    assert found == []


def test_a_docstring_of_a_test_stands_alone() -> None:
    """No such docstring begins with Neither, Nor, So, That, It or They, and none is a question."""
    found = [
        f"{file.relative_to(ROOT)}: {name}: {text.splitlines()[0]}"
        for file in files("tests")
        for name, text in docstrings(file)
        if name.startswith("test_") and (LEANING.match(text) or text.splitlines()[0].endswith("?"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("What comes back is a key.", False),
        ("A key comes back.", True),
        ("Nothing changes. Who asks is refused.", False),
        ("| a | Whatever is held goes on |", False),
        ("- Who calls is named.", False),
        ("It says what is wrong.", True),
        ("Whose key it is does not matter.", True),
    ],
)
def test_the_check_finds_clauses(text: str, good: bool) -> None:
    """Sentences, cells of tables and items of lists are looked at."""
    assert (not [found for found in sentences(text) if CLAUSE.match(found)]) is good
