"""The tables of settings: names, defaults, units and bounds from the model.

The meaning of each setting is in docs/reference/settings.yaml.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, get_args, get_origin

import yaml

from authz.settings import values
from authz.settings.model import Settings
from authz.settings.parsers import Between, Read
from authz.settings.sections import REQUIRED, Section, Setting
from tests.support.docs import ROOT

MEANINGS: Final = ROOT / "docs" / "reference" / "settings.yaml"
HEAD: Final = "| setting | default | values | meaning |\n| --- | --- | --- | --- |\n"
UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def settings() -> str:
    """Return a heading and a table for each section. Raises KeyError if a meaning is missing."""
    meanings: dict[str, str] = yaml.safe_load(MEANINGS.read_text())
    tables: dict[str, list[str]] = {}
    for name, field in fields():
        row = f"| `{name}` | {default(field)} | {permitted(field)} | {meanings.pop(name)} |"
        section = f"`{name.partition('.')[0]}`" if "." in name else "Routes and plans"
        tables.setdefault(section, []).append(row)
    if meanings:
        raise KeyError(f"{MEANINGS.name} describes settings that do not exist: {list(meanings)}")
    return "\n\n".join(
        f"### {section}\n\n{HEAD}" + "\n".join(rows) for section, rows in tables.items()
    )


def fields(section: type[Section] = Settings, prefix: str = "") -> Iterator[tuple[str, Setting]]:
    """Yield every setting with its dotted name, such as `check.listen` and `check.tls.cert`."""
    for name, field in section.settings().items():
        kinds = (field.kind, *get_args(field.kind))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
        if inner and Ellipsis not in kinds and get_origin(field.kind) is not dict:
            yield from fields(inner[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def default(field: Setting) -> str:
    """Return the default as a person writes it, such as `50ms`, or none."""
    value = field.default
    if value is REQUIRED:
        return "required in its section"
    if value in (None, "", (), {}):
        return "none"
    return f"`{_written(value, field)}`"


def _written(value: Any, field: Setting | None = None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if field is not None and _duration_bounds(field):
        return duration(value)
    if field is not None and Read(values._mode) in field.checks:
        return f'"0{value:o}"'
    if isinstance(value, tuple):
        write = duration if field is not None and _has_durations(field) else _written
        return ", ".join(map(write, value))
    if isinstance(value, Section):
        return ", ".join(f"{name}: {part}" for name, part in value)
    if isinstance(value, str) and value.endswith(":"):  # a carrier without a scheme
        return value.removesuffix(":")
    return str(value)


def duration(seconds: float) -> str:
    """Return seconds as the settings take them, such as `50ms` or `10m`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    for length, unit in UNITS:
        if seconds >= 2 * length or seconds == length == 1:
            return f"{seconds / length:g}{unit}" if seconds % length == 0 else f"{seconds:g}s"
    return f"{seconds:g}s"


def permitted(field: Setting) -> str:
    """Return the permitted values, if they are words or have bounds."""
    for kind in (field.kind, *get_args(field.kind)):
        if get_origin(kind) is Literal:
            return ", ".join(f"`{word}`" for word in get_args(kind))
    if field.kind is bool:
        return "`true`, `false`"
    if found := _duration_bounds(field):
        return f"`{found[0]}` to `{found[1]}`"
    bounds = next((part for part in field.checks if isinstance(part, Between)), Between())
    least, most = bounds.least, bounds.most
    if least is None:
        return ""
    return f"from {least:,}" if most is None else f"{least:,} to {most:,}"


def _has_durations(field: Setting) -> bool:
    """Return whether a setting is a tuple of durations."""
    return any(_bounds(getattr(kind, "__metadata__", ())) for kind in get_args(field.kind))


def _duration_bounds(field: Setting) -> tuple[str, str] | None:
    """Return what values.seconds was given; None for other settings."""
    return _bounds(field.checks)


def _bounds(metadata: Iterable[Any]) -> tuple[str, str] | None:
    """Return what values.seconds was given, read from its closure; None without it."""
    for part in metadata:
        reader = _closure(getattr(part, "parse", None)).get("parse")
        cells = _closure(reader)
        if {"least", "most"} <= set(cells):
            return cells["least"], cells["most"]
    return None


def _closure(function: Any) -> dict[str, Any]:
    cells = getattr(function, "__closure__", None) or ()
    names = function.__code__.co_freevars if cells else ()
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}
