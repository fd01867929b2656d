"""Change a YAML file and keep its comments, its order and the form of unchanged lines."""

import difflib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from authz.core.errors import BadInput

WIDE: Final = 4096  # no line is folded
_DASH: Final = re.compile(r"^( *)[^\s#-][^\n]*:[^\S\n]*(?:#[^\n]*)?\n( *)- ", re.MULTILINE)


def edited(text: str, change: Callable[[Sequence[Any]], None]) -> str:
    """Return the text after `change` has modified its documents in place.

    If `change` modifies nothing, the text is returned unchanged. Raises BadInput if the text is not
    YAML, and the errors of `change`.
    """
    form = _form(text)
    try:
        documents = list(form.load_all(text))
    except YAMLError:
        raise BadInput("FILE", "not YAML, such as envoy.yaml") from None
    before = _dumped(form, documents)
    change(documents)
    after = _dumped(form, documents)
    return text if after == before else "".join(_kept(text, after))


def _form(text: str) -> YAML:
    """Return a reader and writer that indents lists as the first list of the text, or by 0."""
    form = YAML()
    form.preserve_quotes = True
    form.width = WIDE
    found = _DASH.search(text)
    offset = max(0, len(found[2]) - len(found[1])) if found else 0
    form.indent(mapping=2, sequence=offset + 2, offset=offset)
    return form


def _dumped(form: YAML, documents: Sequence[Any]) -> str:
    out = io.StringIO()
    form.dump_all(documents, out)
    return out.getvalue()


def _kept(text: str, after: str) -> Iterator[str]:
    """Yield the lines of `after`, each in its old form if only its inner spaces differ.

    A changed line keeps the distance before its comment.
    """
    old, new = text.splitlines(keepends=True), after.splitlines(keepends=True)
    matcher = difflib.SequenceMatcher(
        None, [_bare(line) for line in old], [_bare(line) for line in new], autojunk=False
    )
    for kind, first, last, begin, end in matcher.get_opcodes():
        if kind == "equal":
            yield from old[first:last]
        else:
            yield from (_with_comment(line, old[first:last]) for line in new[begin:end])


def _with_comment(line: str, replaced: Sequence[str]) -> str:
    """Return a new line with two spaces before its comment if a line that it replaces had them.

    Any other line is returned unchanged.
    """
    value, mark, comment = line.partition(" # ")
    kept = mark and any(one.endswith(f"  # {comment}") for one in replaced)
    return f"{value.rstrip()}  # {comment}" if kept else line


def _bare(line: str) -> str:
    """Return the width of the indentation and the text without spaces, to compare lines."""
    text = line.lstrip(" ")
    return f"{len(line) - len(text)} {''.join(text.split())}"
