"""Settings as text for people, without secrets."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from authz.settings.sections import Section

HIDDEN: Final = "(hidden)"
_NAMED_SECRET: Final = re.compile(r"secret|password|token", re.ASCII)
_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*://)([^/@]*@)?([^/?#]*)(.*)", re.ASCII | re.DOTALL)
_PRIVATE_PATHS: Final = "events."  # whoever knows the address of a webhook can send to it


def shown_settings(section: Section, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the text of each setting, in order. Durations are in seconds.

    A password in a URL is hidden, and so is the path of a webhook. A setting whose name is that of
    a secret is hidden, unless it is the path of a file.
    """
    for name in section.names:
        yield from _shown(f"{prefix}{name}", getattr(section, name))


def _shown(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Section):
        yield from shown_settings(value, f"{name}.")
    elif isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _shown(f"{name}.{key}", each)
    elif isinstance(value, list | tuple) and any(isinstance(each, Section) for each in value):
        for at, each in enumerate(value, 1):
            yield from _shown(f"{name}.{at}", each)
    else:
        yield name, _text(name, value)


def _text(name: str, value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    if value is None or value in ((), {}, []):
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if _NAMED_SECRET.search(name.rpartition(".")[2]):
        return HIDDEN
    if isinstance(value, float):
        return f"{value:.15g}"
    if name.endswith("_mode"):
        return f"{value:04o}"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_text(name, each) for each in value)
    return _without_credentials(name, str(value))


def _without_credentials(name: str, text: str) -> str:
    match = _URL.fullmatch(text)
    if match is None:
        return text
    scheme, user, host, rest = match.groups()
    if name.startswith(_PRIVATE_PATHS) and rest not in {"", "/"}:
        rest = f"/{HIDDEN}"
    return f"{scheme}{HIDDEN + '@' if user else ''}{host}{rest}"
