"""The table of events in docs/events.md, and the JSON Schema beside it."""

import json
from pathlib import Path
from typing import Final

from authz.core.notifications.catalogue import ALL, example, schema
from tests.support.docs import ROOT

SCHEMA: Final[Path] = ROOT / "docs" / "reference" / "events.schema.json"


def events() -> str:
    """Return a row for each type of event."""
    rows = [
        f"| `{kind.name}` | {kind.meaning} | {', '.join(f'`{name}`' for name in kind.details)} |"
        for kind in ALL
    ]
    return "\n".join(["| type | meaning | `data.details` |", "| --- | --- | --- |", *rows])


def event_example(name: str) -> str:
    """Return an example of one type of event."""
    kind = next(kind for kind in ALL if kind.name == name)
    return f"```json\n{json.dumps(example(kind), indent=2)}\n```"


def schema_text() -> str:
    """Return the content of the schema file."""
    return json.dumps(schema(), indent=1) + "\n"
