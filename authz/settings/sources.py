"""The sources of settings: files, the environment, the command line. Each is a tree of names.

A source can name the origin of each setting, for error messages.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import eq
from pathlib import Path
from typing import Any, Final

from authz.core.fields import shown

ENV_PREFIX: Final = "AUTHZ_"
# The section `admin` as JSON is a setting. As other text it is the address that commands use.
ADMIN: Final = "AUTHZ_ADMIN"
# Variables that the command line reads itself, and those that Kubernetes sets in every pod beside a
# Service whose name begins with `authz`. Those have no `__`; every setting has one.
NOT_SETTINGS: Final = re.compile(
    r"AUTHZ_(CONFIG|ACTOR|COMPLETE_STORE|ADMIN_(TOKEN_FILE|CA|CERT|KEY)|(?!.*__)(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?))"
)

Location = tuple[int | str, ...]  # ("keys", "peppers", 0, "file")


@dataclass(frozen=True, slots=True)
class Source:
    """Settings of one source. tree: nested by section. base: the directory of its relative paths.

    name: returns the origin of a setting for error messages, such as `in FILE`.
    """

    tree: Mapping[str, Any]
    base: Path
    name: Callable[[Location], str]

    def holds(self, location: Location) -> bool:
        """Return whether this source has the setting, also with the value null.

        True for an empty location.
        """
        part: Any = self.tree
        for step in location:
            if isinstance(step, int):
                found = isinstance(part, list) and step < len(part)
            else:
                found = isinstance(part, Mapping) and step in part
            if not found:
                return False
            part = part[step]
        return True


def merged(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """Return both trees merged, as a new dict. `upper` wins.

    Sections are merged name by name; a list is one value.
    """
    found = dict(lower)
    for name, value in upper.items():
        below = found.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        found[name] = merged(value, below or {}) if both else value
    return found


def origin(layers: Sequence[Source], location: Location) -> Source:
    """Return the first source of the setting, or of its nearest section if the setting is missing.

    If no source has either, return the last one.
    """
    for length in range(len(location), 0, -1):
        for source in layers:
            if source.holds(location[:length]):
                return source
    return layers[-1]


def dotted(location: Location) -> str:
    """Return the name of a setting for messages, such as `keys.peppers.0.file`.

    A name with unusual characters or of more than 80 is quoted and escaped.
    """
    name = ".".join(map(str, location))
    return name if re.fullmatch(r"[\w.*:@-]{1,80}", name, re.ASCII) else shown(name)


def command_line(flags: Mapping[str, Any]) -> Source:
    """Return the flags as a source. flags: nested like the file.

    Paths start at the current directory.
    """
    return Source(flags, Path.cwd(), lambda _: "from the command line")


def environment(environ: Mapping[str, str]) -> Source:
    """Return the variables `AUTHZ_SECTION__NAME` as a source. Paths start at the current directory.

    A list or a whole section is JSON; text that begins with a bracket but is no JSON stays text.
    A variable of one setting wins over that of its section. Variables that match NOT_SETTINGS are
    left out.
    """
    given = {
        name: tuple(name.removeprefix(ENV_PREFIX).lower().split("__"))
        for name in environ
        if name.startswith(ENV_PREFIX)
        and not NOT_SETTINGS.fullmatch(name)
        and (name != ADMIN or environ[name].startswith("{"))
    }
    tree: dict[str, Any] = {}
    for name, steps in sorted(given.items(), key=lambda item: len(item[1])):
        value = _json_or_text(environ[name])
        for step in reversed(steps):
            value = {step: value}
        tree = merged(value, tree)

    def source_of(location: Location) -> str:
        def shared(name: str) -> int:
            return sum(takewhile(bool, map(eq, given[name], location)))

        return f"from {max(given, key=lambda name: (shared(name), len(name)))}"

    return Source(tree, Path.cwd(), source_of)


def _json_or_text(text: str) -> Any:
    if text[:1] in {"[", "{"}:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass  # [::1]:9191 is text; validation refuses a broken list
    return text
