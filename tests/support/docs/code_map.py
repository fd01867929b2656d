"""The map of the package: every module with the first sentence of its docstring."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.docs import ROOT

PACKAGE = ROOT / "authz"


def tree() -> str:
    """Return the package as an indented tree in a code block."""
    return "```text\nauthz/\n" + "\n".join(_lines(PACKAGE, 1)) + "\n```"


def _lines(folder: Path, depth: int) -> Iterator[str]:
    for entry in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if entry.name.startswith(("__pycache__", ".")):
            continue
        if entry.is_dir():
            yield _line(depth, f"{entry.name}/", _purpose(entry / "__init__.py"))
            yield from _lines(entry, depth + 1)
        elif entry.suffix in {".py", ".lua"} and entry.name != "__init__.py":
            yield _line(depth, entry.name, _purpose(entry))


def _line(depth: int, name: str, purpose: str) -> str:
    return f"{'  ' * depth + name:<28} {purpose}".rstrip()


def _purpose(file: Path) -> str:
    """Return the first sentence of a module's docstring, or of a script's comment."""
    if not file.exists():
        return ""
    text = file.read_text()
    if file.suffix == ".lua":
        return text.partition("\n")[0].lstrip("- ").strip()
    said = " ".join((ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.?]) (?=[A-Z`])", said)[0]
