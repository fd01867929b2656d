"""UrlTemplate: the path of a google.api.http rule, such as `/v1/{key.name=keys/*}:rotate`.

The part of the syntax that our rules use: literal segments, and variables over literal segments
and `*`. See google/api/http.proto.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

MAX_PATH: Final = 2048  # characters

_VARIABLE: Final = re.compile(r"\{([a-z_.]+)(?:=([^{}]*))?\}")
_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """A template. verb: the text after `:` at the end, or empty.

    segments: each is a literal, or `*`. variables: the path of a field, with the indexes of the
    first and the last segment (inclusive) that it takes its value from.
    """

    text: str
    segments: tuple[str, ...]
    verb: str
    variables: tuple[tuple[str, int, int], ...]

    @classmethod
    def parse(cls, text: str) -> "UrlTemplate":
        """Return the template of a rule's path. The syntax is not checked."""
        segments: list[str] = []
        variables = []
        path, _, verb = _outside_braces(text)
        at = 0
        for match in _VARIABLE.finditer(path):
            segments += _split(path[at : match.start()])
            inner = (match[2] or _ANY).split("/")
            variables.append((match[1], len(segments), len(segments) + len(inner) - 1))
            segments += inner
            at = match.end()
        segments += _split(path[at:])
        return cls(text, tuple(segments), verb, tuple(variables))

    def match(self, path: str) -> dict[str, str] | None:
        """Return the value of each variable, or None if the path does not fit.

        path: as sent, without the query. Values are decoded after the comparison. The text after
        the last colon is the verb.
        """
        body, colon, verb = path.rpartition(":")
        if not colon:
            body, verb = path, ""
        given = body.split("/")[1:]
        if verb != self.verb or len(given) != len(self.segments):
            return None
        pairs = zip(self.segments, given, strict=True)
        if not all(have and wanted in (_ANY, have) for wanted, have in pairs):
            return None
        parts = [unquote(part) for part in given]
        return {name: "/".join(parts[first : last + 1]) for name, first, last in self.variables}


def _outside_braces(text: str) -> tuple[str, str, str]:
    """Return the path, the colon and the verb. The last two are empty without a verb."""
    head, colon, verb = text.rpartition(":")
    return (head, colon, verb) if colon and "}" not in verb else (text, "", "")


def _split(text: str) -> list[str]:
    return [part for part in text.split("/") if part]
