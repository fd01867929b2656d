"""The entries of an import, read from stdin in each of its formats.

`jsonl` is read line by line, so it may have any size and come from a pipe that stays open. Other
formats are read whole, at most MAX_DOCUMENT bytes.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from authz.cli import import_exports, import_table
from authz.cli.import_entry import IGNORED, IN_METADATA, Entry, is_field
from authz.cli.import_fields import FIELDS
from authz.cli.json_lines import LINE, MAX_LINE, json_object, lines, unique_names
from authz.core.errors import BadInput

MAX_DOCUMENT: Final = 256 * 1024 * 1024
BOM: Final = b"\xef\xbb\xbf"
UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
FORMATS: Final = ("auto", "jsonl", "json", "csv", "kong", "unkey", "litellm")
LISTS: Final = ("keys", "data")  # members of an export that hold the list of keys


@dataclass(slots=True)
class Source:
    """The stdin of an import. renamed: fields by the names in the source, from --map.

    may_be_key: whether a column that is no field could be a key; if so, no message shows it.
    unit: the word for an entry in messages. notes: how many entries had a setting that is not taken
    over, by a text that says so.
    """

    stdin: BinaryIO
    renamed: Mapping[str, str]
    may_be_key: Callable[[str], bool]
    unit: str = "line"
    notes: Counter[str] = field(default_factory=Counter)

    def entries(self, wanted: str) -> Iterator[Entry]:
        """Return an iterator over all entries. Reads `jsonl` lazily, other formats whole and now.

        wanted: one of FORMATS; with `auto` the first line decides. The call or the iterator raises
        BadInput if the whole document cannot be read, OSError if stdin fails.
        """
        blank, head = self._first_line()
        if head.startswith(UTF_16):
            raise BadInput("stdin", "is in UTF-16; save it as UTF-8")
        form = detect(head, self.renamed) if wanted == "auto" else wanted
        if form == "jsonl":
            return self._json_lines(blank, head)
        content = head + self.stdin.read(MAX_DOCUMENT + 1 - len(head))
        if len(content) > MAX_DOCUMENT:
            raise BadInput(
                "stdin", f"is longer than {MAX_DOCUMENT >> 20} MiB; split it, or use jsonl"
            )
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as cause:
            raise BadInput("stdin", f"is not UTF-8 at byte {cause.start}") from None
        if form == "csv":
            return import_table.entries(text, blank, self.renamed, self.may_be_key)
        if form == "kong":
            return self._kong(text)
        return self._listed(text, form)

    def _first_line(self) -> tuple[int, bytes]:
        """Return the number of blank lines at the start, and the next line; empty at the end.

        The line is cut off after MAX_LINE + 1 bytes.
        """
        blank = 0
        while head := self.stdin.readline(MAX_LINE + 1):
            if head.strip().removeprefix(BOM):
                break
            blank += 1
        return blank, head

    def _json_lines(self, blank: int, head: bytes) -> Iterator[Entry]:
        for at, size, raw in lines(self.stdin, head):
            number = at + blank
            if raw is not None and not raw.strip().removeprefix(BOM):
                yield Entry(number, size)
                continue
            try:
                given = self._renamed(json_object(raw))
            except BadInput as cause:
                yield Entry(number, size, problem=cause)
            else:
                yield Entry(number, size, given)

    def _listed(self, text: str, form: str) -> Iterator[Entry]:
        """Yield the entries of a JSON array, or of the list in a member of LISTS.

        Any other object is one entry. Raises BadInput for text that is no JSON, or other JSON.
        """
        self.unit = "entry"
        try:
            document = json.loads(text, object_pairs_hook=unique_names)
        except json.JSONDecodeError as cause:
            problem = f"is not JSON at line {cause.lineno}, column {cause.colno}"
            raise BadInput("stdin", f"{problem}; nothing was imported") from None
        except (ValueError, RecursionError):
            raise BadInput("stdin", "is not JSON: a name occurs twice, or it is too deep") from None
        if isinstance(document, dict):
            found = [document[name] for name in LISTS if isinstance(document.get(name), list)]
            document = found[0] if found else [document]
        if not isinstance(document, list):
            raise BadInput("stdin", "has no list of keys; see `authz keys import --help`")
        size = len(text) // max(len(document), 1)
        for number, item in enumerate(document, start=1):
            yield self._listed_entry(number, size, item, form)

    def _listed_entry(self, number: int, size: int, item: Any, form: str) -> Entry:
        if not isinstance(item, dict):
            problem = BadInput(LINE, "is not an object")
            return Entry(number, size, problem=problem)
        name = import_exports.recognised(item) if form == "json" else form
        try:
            given = import_exports.READERS[name](item, self.notes) if name else self._renamed(item)
        except BadInput as cause:
            return Entry(number, size, problem=cause)
        return Entry(number, size, given)

    def _kong(self, text: str) -> Iterator[Entry]:
        from authz.cli import import_kong  # noqa: PLC0415  YAML is for this format only

        found = import_kong.credentials(text, self.notes)
        size = len(text) // max(len(found), 1)
        for number, given in found:
            yield Entry(number, size, given)

    def _renamed(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.renamed:
            return given
        pairs = [(self.renamed.get(name, name), value) for name, value in given.items()]
        pairs = [(name, value) for name, value in pairs if name != IGNORED and value is not None]
        counts = Counter(name for name, _ in pairs)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise BadInput(twice[0], "is given twice, once by another name")
        metadata = {n.removeprefix(IN_METADATA): v for n, v in pairs if n.startswith(IN_METADATA)}
        found = {name: value for name, value in pairs if not name.startswith(IN_METADATA)}
        if metadata:
            own = found.get("metadata") or {}
            if not isinstance(own, dict):
                raise BadInput("metadata", f"has to be {FIELDS['metadata']}")
            if metadata.keys() & own.keys():
                raise BadInput("metadata", "has a name twice, once by --map")
            found["metadata"] = {**metadata, **own}
        return found


def detect(head: bytes, renamed: Mapping[str, str]) -> str:
    """Return the format of a source by its first line that is not blank.

    It is json, csv or kong, and jsonl for everything else. renamed: columns that --map names.
    """
    text = head.removeprefix(BOM).decode("utf-8", "replace").strip()
    if text.startswith("["):
        return "json"
    if text.startswith("{"):
        return _json_form(text)
    if text.startswith(("_format_version", "_transform", "---", "#", "%YAML", "consumers:")):
        return "kong"
    header = text.split(import_table.delimiter_of(text) or ",")
    names = [cell.strip().strip('"') for cell in header]
    is_table = len(names) > 1 or names[0] in renamed or is_field(names[0])
    return "csv" if is_table and not text.startswith('"{') else "jsonl"


def _json_form(text: str) -> str:
    """Return `jsonl` if the text is one entry or cut off, else the format of a whole document."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        starts = ("{", *(f'{{"{name}"' for name in (*LISTS, "meta", "object", "total")))
        compact = "".join(text[:40].split())
        if '"_format_version"' in text:
            return "kong"
        is_document = compact == "{" or compact.startswith(tuple(starts[1:]))
        return "json" if is_document and not text.endswith("}") else "jsonl"
    if "_format_version" in found or isinstance(found.get("consumers"), list):
        return "kong"
    return "json" if any(isinstance(found.get(name), list) for name in LISTS) else "jsonl"
