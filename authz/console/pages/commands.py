"""Does: the command and the API call that do the same as a page."""

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from authz.console.pages.api_client import Call


@dataclass(frozen=True, slots=True)
class Does:
    """The command of a shell and the HTTP request, as texts."""

    command: str
    call: str


def does(command: Iterable[str], call: Call) -> Does:
    """Return the texts. command: its words, which are quoted for a shell as needed."""
    return does_each([command], call)


def does_each(commands: Iterable[Iterable[str]], call: Call) -> Does:
    """Return the texts of some commands, one a line, that do the same as one call."""
    text = f"{call.method} {call.target}"
    if call.body is not None:
        text += f"\n{json.dumps(call.body, indent=2, ensure_ascii=False)}"
    return Does("\n".join(shlex.join(["authz", *words]) for words in commands), text)
