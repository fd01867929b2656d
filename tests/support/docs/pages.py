"""Pages whose parts come from the code: `python -m tests.support.docs.pages` writes them anew.

It also writes the outline of the commands, from which help is shown.

A part stands between two comments, which no reader sees:

    <!--figure revocation.p99-->7.6 ms<!--/-->       a figure of docs/figures.json
    <!--setting cache.trust_lease-->1s<!--/-->       the default of a setting
    <!--include deploy/k8s/overlays/istio/mesh.yaml-->   a file, or `FILE#KIND/NAME` of it
    <!--table settings-->                            one of TABLES, with its arguments
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import yaml

from authz.cli.main import cli
from authz.cli.outline import FILE, described
from tests.bench.figures import published
from tests.support.docs import ROOT, events_table, figure_tables
from tests.support.docs.api_reference import api, methods
from tests.support.docs.code_map import tree
from tests.support.docs.commands_table import commands
from tests.support.docs.metrics_table import admin_metrics, meter_metrics, metrics
from tests.support.docs.reasons_table import reasons
from tests.support.docs.roles_table import roles
from tests.support.docs.settings_table import default, fields, settings

OUTLINE: Final = ROOT / "authz/cli" / FILE
OUTSIDE: Final = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "authz/README.md",
    "deploy/README.md",
    "deploy/prometheus/README.md",
)
TABLES: Final[dict[str, Callable[..., str]]] = {
    "settings": settings,
    "commands": commands,
    "metrics": metrics,
    "meter_metrics": meter_metrics,
    "admin_metrics": admin_metrics,
    "methods": methods,
    "api": api,
    "reasons": reasons,
    "events": events_table.events,
    "event_example": events_table.event_example,
    "roles": roles,
    "modules": tree,
    "figures": figure_tables.figures,
    "direct": figure_tables.direct,
    "through_envoy": figure_tables.through_envoy,
    "machines": figure_tables.machines,
}
PART: Final = re.compile(
    r"(?<!`)<!--(figure|setting|include|table) ([^>]+?)-->.*?<!--/-->", re.DOTALL
)


def outline() -> str:
    """Return the outline of all commands, as authz/cli/outline.json has it."""
    found = described(cli, click.Context(cli, info_name="authz"))
    return json.dumps(found, indent=1) + "\n"


def pages() -> list[Path]:
    """Return every page of the project, from the root."""
    inside = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / name for name in OUTSIDE if (ROOT / name).exists()] + inside


def rendered(text: str) -> str:
    """Return a page with all its parts as the code has them. Raises KeyError for an unknown one."""
    return PART.sub(lambda part: _part(part[1], part[2]), text)


def _part(kind: str, name: str) -> str:
    opening = f"<!--{kind} {name}-->"
    match kind:
        case "figure":
            return f"{opening}{published()[name]}<!--/-->"
        case "setting":
            return f"{opening}{default(dict(fields())[name]).strip('`')}<!--/-->"
        case "include":
            return f"{opening}\n```yaml\n{_included(name)}```\n<!--/-->"
    table, *arguments = name.split()
    return f"{opening}\n\n{TABLES[table](*arguments)}\n\n<!--/-->"


def _included(name: str) -> str:
    """Return a file, or the one YAML document of it with this kind and name."""
    file, _, wanted = name.partition("#")
    text = (ROOT / file).read_text()
    if not wanted:
        return text
    for document in re.split(r"^---\n", text, flags=re.MULTILINE):
        found = yaml.safe_load(document)
        if f"{found['kind']}/{found['metadata']['name']}" == wanted:
            return document
    raise KeyError(name)


def changed() -> Iterator[tuple[Path, str]]:
    """Yield each page that is not as the code has it, with the text that it should have."""
    for page in pages():
        text = page.read_text()
        if (current := rendered(text)) != text:
            yield page, current
    if OUTLINE.read_text() != (current := outline()):
        yield OUTLINE, current
    schema = events_table.SCHEMA
    if schema.read_text() != (current := events_table.schema_text()):
        yield schema, current


if __name__ == "__main__":
    for page, text in list(changed()):
        page.write_text(text)
        sys.stdout.write(f"{page.relative_to(ROOT)}\n")
