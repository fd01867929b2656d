"""The rules for Prometheus as data, and the programs of Debian's package `prometheus`."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FILE = ROOT / "deploy" / "prometheus" / "authz.rules.yaml"

RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = [rule for rule in RULES if "record" in rule]
OBJECTIVES = {
    rule["labels"]["sli"]: float(rule["expr"].removeprefix("vector(").removesuffix(")"))
    for rule in RECORDS
    if rule["record"] == "authz:objective:ratio"
}


def program(name: str) -> str:
    """Return the path of a program. Skips the test if it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; it is in Debian's package prometheus")
    return found
