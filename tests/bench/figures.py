"""How figures are told."""

import json
from collections.abc import Mapping
from typing import Any


def tell(found: Mapping[str, Any], *, as_json: bool) -> None:
    """One JSON document, or a line for each figure; parts of a figure share its line."""
    if as_json:
        print(json.dumps(found))
        return
    for name, figure in found.items():
        print(f"{_words(name)}: {_parts(figure) if isinstance(figure, Mapping) else figure}")


def _parts(figure: Mapping[Any, Any]) -> str:
    return ", ".join(f"{_words(part)} {value}" for part, value in figure.items()) or "none"


def _words(name: object) -> str:
    return str(name).replace("_", " ")
