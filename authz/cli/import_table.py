"""A table of keys for an import: CSV with a header."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from authz.cli.import_entry import IGNORED, IN_METADATA, Entry, is_field
from authz.cli.import_fields import ALIASES
from authz.cli.json_lines import LINE
from authz.core import fields
from authz.core.errors import BadInput

_LISTED: Final = ("scope", "host", "origin", "cidr", "limit")  # lists in one cell of a table
_MANY: Final = (IGNORED, "")  # columns of these names may stand in a table more than once
_BOMS: Final = re.compile("^\ufeff+", re.MULTILINE)  # tables that were put together have them


def entries(
    text: str, blank: int, renamed: Mapping[str, str], may_be_key: Callable[[str], bool]
) -> Iterator[Entry]:
    """Yield the entries of a table.

    blank: lines before the text. renamed: fields by column, from --map. may_be_key: whether a
    column must not be shown. Raises BadInput for a wrong header.
    """
    text = _BOMS.sub("", text)
    delimiter = delimiter_of(text.lstrip("\r\n").partition("\n")[0]) or ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = _numbered(reader)
    _, header, problem = next(rows, (1, None, None))
    if problem is not None:
        raise BadInput("stdin", f"the header {problem.problem}")
    names = _columns(header or [], renamed, may_be_key)
    for at, row, problem in rows:
        size = sum(map(len, row or ())) + len(row or ())
        number = at + blank
        if problem is not None:
            yield Entry(number, size, problem=problem)
        elif row is None or not any(row):
            yield Entry(number, size)
        elif len(row) > len(names):
            cells = BadInput(LINE, f"has {len(row)} cells, the header has {len(names)}")
            yield Entry(number, size, problem=cells)
        else:
            yield _row(number, size, zip(names, row, strict=False))


def delimiter_of(header: str) -> str:
    """Return the delimiter of a table by its header: tab, semicolon or comma; empty without one."""
    return next((mark for mark in "\t;," if mark in header), "")


def _columns(
    header: list[str], renamed: Mapping[str, str], may_be_key: Callable[[str], bool]
) -> list[str]:
    """Return the field of each column; IGNORED for one that is left out, "" without a name.

    Raises BadInput for a column that is no field, for two columns of one field, and for a --map
    of a missing column.
    """
    names: list[str] = []
    for at, column in enumerate(header, start=1):
        name = renamed.get(column.strip(), column.strip())
        if not (is_field(name) or name in _MANY):
            told = f"number {at}" if may_be_key(name) else fields.shown(name)
            advice = "give --map COLUMN=FIELD, or --map COLUMN=- to leave it out"
            raise BadInput("stdin", f"column {told} is no field; {advice}")
        if name in names and name not in _MANY:
            raise BadInput("stdin", f"two columns are {name}; rename one of them")
        names.append(name)
    if missing := renamed.keys() - {column.strip() for column in header}:
        raise BadInput("--map", f"there is no column {fields.shown(min(missing))}")
    return names


def _numbered(
    reader: Any,
) -> Iterator[tuple[int, list[str] | None, BadInput | None]]:
    """Yield for each row the number of its first line, from 1, and its cells or the problem."""
    while True:
        number = reader.line_num + 1
        try:
            yield number, next(reader), None
        except StopIteration:
            return
        except csv.Error as cause:
            problem = "is not a row of CSV: quotes do not match"
            if "limit" in str(cause):
                problem = f"has a cell of more than {csv.field_size_limit()} characters"
            elif reader.line_num > number:
                problem += f"; it goes on to line {reader.line_num}"
            yield number, None, BadInput(LINE, problem)


def _row(number: int, size: int, cells: Iterable[tuple[str, str]]) -> Entry:
    given: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for name, cell in cells:
        text = cell.strip()
        if not text or name == IGNORED:
            continue
        if not name:
            problem = "has a value in a column that has no name"
            return Entry(number, size, problem=BadInput(LINE, problem))
        if name.startswith(IN_METADATA):
            metadata[name.removeprefix(IN_METADATA)] = text
        elif ALIASES.get(name, name) in _LISTED:
            given[name] = text.replace(";", " ").split()
        elif name == "metadata":
            try:
                metadata |= json.loads(text)
            except (ValueError, TypeError, RecursionError):
                return Entry(number, size, problem=BadInput(name, "has to be a JSON object"))
        else:
            given[name] = text
    if metadata:
        given["metadata"] = metadata
    return Entry(number, size, given)
