"""Figures: how a benchmark prints them, and the file of those that are published.

`docs/figures.json` has every published figure once, under its name: `about` says what is measured,
then come value, unit, spread (lowest and highest, or null), command, machine and date. A benchmark
writes its own with `--record`. Pages show figures by name, so `make docs` carries a new value to
every place where it is published.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from authz.process import hot_path

FILE: Final = Path(__file__).parents[2] / "docs" / "figures.json"
CPU_INFO: Final = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Figure:
    """One published figure. `spread`: the lowest and the highest value of several rounds."""

    about: str
    value: float
    unit: str
    spread: Sequence[float] | None
    command: str
    machine: str
    date: str

    def __str__(self) -> str:
        """Return the value with its unit, such as `7.6 ms` or `53,051 Checks/s`."""
        return f"{number(self.value)} {self.unit}"


def number(value: float) -> str:
    """Return a value as pages show it: with separators of thousands, without needless zeros."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"


def published(file: Path = FILE) -> dict[str, Figure]:
    """Return every published figure by its name."""
    found: dict[str, Any] = json.loads(file.read_text())
    return {name: Figure(**entry) for name, entry in found.items()}


def offer_record(parser: argparse.ArgumentParser) -> None:
    """Add `--record` to the options of a benchmark."""
    parser.add_argument(
        "--record", action="store_true", help="write the figures into docs/figures.json as well"
    )


def record(measured: Mapping[str, float | Sequence[float]], file: Path = FILE) -> None:
    """Write new values of published figures, with this machine and today's date.

    Of several values the median counts, and their spread is kept. Raises SystemExit if a name is
    not in the file: a new figure is first described there.
    """
    figures = published(file)
    if strange := sorted(set(measured) - set(figures)):
        raise SystemExit(f"{file.name} does not describe {', '.join(strange)}; add an entry first")
    seen = {"machine": machine(), "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    for name, values in measured.items():
        several = [values] if isinstance(values, int | float) else list(values)
        spread = [_rounded(min(several)), _rounded(max(several))] if len(several) > 1 else None
        value = _rounded(statistics.median(several))
        figures[name] = replace(figures[name], value=value, spread=spread, **seen)
    entries = {name: asdict(figure) for name, figure in figures.items()}
    file.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")


def _rounded(value: float) -> float:
    """Return three significant digits: no measurement here is more exact."""
    short = float(f"{value:.3g}")
    return int(short) if short.is_integer() else short


def machine() -> str:
    """Return the processor, its cores and the version of Python that figures come from.

    It says so if the hot path is compiled.
    """
    cpu = platform.machine()
    if CPU_INFO.exists():
        models = [
            line for line in CPU_INFO.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    compiled = ", compiled" if hot_path.form() == hot_path.COMPILED else ""
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}{compiled}"


def tell(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one JSON document, or a line for each figure. Parts of a figure share its line."""
    if as_json:
        print(json.dumps(found))
        return
    for name, figure in found.items():
        print(f"{_words(name)}: {_parts(figure) if isinstance(figure, Mapping) else figure}")


def _parts(figure: Mapping[Any, Any]) -> str:
    return ", ".join(f"{_words(part)} {value}" for part, value in figure.items()) or "none"


def _words(name: object) -> str:
    return str(name).replace("_", " ")
