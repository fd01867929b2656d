"""Path templates, matched in time that is linear in the length of the path.

    /v1/models/{model}:generateContent      {name} is a part of one segment, never empty
    /v1/files/**                            ** at the end is anything below, and /v1/files itself

A segment is matched by its literals alone: the first where it begins, the last where it ends, each
of the others where it is found first. This finds a match if there is one, and it never goes back.

To most backends a variable is at least one character. One that looks for `:run` at the end of a
segment also takes `:run` alone, so the empty text is another reading (see core/routes.py).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.paths import Path, is_canonical, is_folded_by_some, without_case

MAX_TEMPLATE: Final = 1024
MAX_BETWEEN: Final = 64  # characters between two variables: searching takes their number times n
ANY_TEXT: Final = "\0"  # stands for a variable where one template is matched by another

VARIABLE: Final = re.compile(r"\{([a-z][a-z0-9_]{0,63})\}", re.ASCII)
_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@-]++|%[0-9A-F]{2})*+", re.ASCII)

Literals = tuple[str, ...]  # of one segment, with a variable between each two


@dataclass(frozen=True, slots=True)
class Template:
    """A template. `decoded` and `written` are its segments in both readings of a path.

    below: it ends with `/**`, which is no segment.
    """

    decoded: tuple[Literals, ...]
    written: tuple[Literals, ...]
    names: tuple[tuple[str, ...], ...]  # of the variables of each segment
    below: bool
    ignore_case: bool

    @classmethod
    def parse(cls, field: str, text: str, *, ignore_case: bool = False) -> "Template":
        """Parse a template. `field` names the setting in errors. If `ignore_case`, use lower case.

        Raises BadInput if it is invalid, longer than 1024 characters, can match no canonical path,
        or has more than 64 characters between two variables of a segment.
        """
        below = text.endswith("/**")
        body = text.removesuffix("/**" if below else "/")
        parts = [VARIABLE.split(segment) for segment in body.split("/")[1:]]
        written = tuple(tuple(part[::2]) for part in parts)
        if not (
            text.startswith("/")
            and len(text) <= MAX_TEMPLATE
            and all(_LITERAL.fullmatch(literal) for literals in written for literal in literals)
            and "**" not in body
            and "}{" not in body
            and is_canonical(VARIABLE.sub("x", text.removesuffix("**")))
        ):
            good = "such as /v1/models/{model}:predict"
            raise BadInput(field, f"{shown(text)} is not a path template, {good}")
        if any(len(literal) > MAX_BETWEEN for literals in written for literal in literals[1:-1]):
            problem = f"at most {MAX_BETWEEN} characters between two variables of a segment"
            raise BadInput(field, f"{shown(text)}: {problem}")
        if ignore_case:
            written = _each(without_case, written)
        decoded = _each(unquote, written)
        if ignore_case and any(is_folded_by_some(text) for part in decoded for text in part):
            raise BadInput(
                field, f"{shown(text)}: letters outside ASCII in lower case, for routes_case"
            )
        return cls(decoded, written, tuple(tuple(part[1::2]) for part in parts), below, ignore_case)

    @property
    def beginning(self) -> tuple[str, ...]:
        """The leading segments, decoded, before the first one with a variable.

        All segments if there is no variable.
        """
        count = next((at for at, part in enumerate(self.decoded) if len(part) > 1), None)
        return tuple(part[0] for part in self.decoded[:count])

    @property
    def searches(self) -> bool:
        """True if a segment has two variables, so that the text between them is searched for."""
        return any(len(names) > 1 for names in self.names)

    @property
    def variables(self) -> set[str]:
        """The names of all variables."""
        return {name for segment in self.names for name in segment}

    def require_each_once(self, field: str, names: Iterable[str]) -> None:
        """Raise BadInput unless each of `names` is a variable that occurs exactly once."""
        known = [name for segment in self.names for name in segment]
        for name in sorted(names):
            if name not in known:
                raise BadInput(field, f"the path has no variable {{{name}}}")
            if known.count(name) > 1:
                raise BadInput(field, f"the path has {{{name}}} more than once")

    def matches(self, segments: Sequence[str]) -> bool:
        """Return whether the template matches the decoded segments; a variable may be empty here.

        If it ignores case, the segments must be in lower case.
        """
        return _match(self.decoded, segments, 0, below=self.below)

    def matches_in_every_reading(self, path: Path) -> bool:
        """Return whether a path that `matches` decoded also matches as it was written.

        Then it matches in every reading that decodes only some of its escapes, too. No variable may
        be empty here.
        """
        return _match(self.written, path.written, 1, below=self.below)

    def values(self, segments: Sequence[str]) -> dict[str, str] | None:
        """Return the text of each variable; None if a segment can be divided in more than one way.

        `segments` are decoded, with the case of their letters, and are matched by the template.
        """
        found: dict[str, str] = {}
        for names, literals, segment in zip(self.names, self.decoded, segments, strict=False):
            if not names:
                continue
            text = without_case(segment) if self.ignore_case else segment
            spans = _divide(literals, text, 0)
            if spans is None or spans != _divide_from_the_end(literals, text):
                return None
            found |= {name: segment[a:b] for name, (a, b) in zip(names, spans, strict=True)}
        return found

    def covers(self, other: "Template") -> bool:
        """Return whether this template matches every path that `other` matches."""
        if not self.below and other.below:
            return False
        texts = [ANY_TEXT.join(part) for part in other.decoded]
        return _match(self.decoded, texts, 1, below=self.below)


def _match(
    parts: tuple[Literals, ...], segments: Sequence[str], least: int, *, below: bool
) -> bool:
    if len(segments) != len(parts) and not (below and len(segments) > len(parts)):
        return False
    for literals, segment in zip(parts, segments, strict=False):
        if len(literals) == 1:
            if literals[0] != segment:
                return False
        elif _divide(literals, segment, least) is None:
            return False
    return True


def _divide(literals: Literals, text: str, least: int) -> list[tuple[int, int]] | None:
    """Return start and end of each variable in `text`, each as short as possible from the left.

    None if `text` does not match. least: characters that a variable takes at least.
    """
    first, last = literals[0], literals[-1]
    end = len(text) - len(last)
    at = len(first)
    if at + least > end or not (text.startswith(first) and text.endswith(last)):
        return None
    spans = []
    for literal in literals[1:-1]:
        found = text.find(literal, at + least, end)
        if found < 0:
            return None
        spans.append((at, found))
        at = found + len(literal)
    if at + least > end:
        return None
    spans.append((at, end))
    return spans


def _divide_from_the_end(literals: Literals, text: str) -> list[tuple[int, int]] | None:
    if len(literals) == 2:  # noqa: PLR2004  one variable: there is one way
        return _divide(literals, text, 0)
    turned = tuple(literal[::-1] for literal in reversed(literals))
    spans = _divide(turned, text[::-1], 0)
    if spans is None:
        return None
    return [(len(text) - end, len(text) - start) for start, end in reversed(spans)]


def _each(change: Callable[[str], str], parts: tuple[Literals, ...]) -> tuple[Literals, ...]:
    return tuple(tuple(change(text) for text in literals) for literals in parts)
