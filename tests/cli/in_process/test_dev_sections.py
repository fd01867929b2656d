"""The sections of a settings file that `authz dev --config` uses."""

from pathlib import Path

import pytest

from authz.cli.devconfig import taken_sections, write_settings
from authz.settings import model

ROUTES = "routes: [{path: /orders/**, assertion: orders}]\n"
ISSUER = "https://gate.example.com"


@pytest.mark.parametrize(
    ("identity", "ignored"),
    [
        (f"{{assertion_issuer: {ISSUER}}}", ["log"]),
        (f"{{assertion_issuer: {ISSUER}, header_prefix: x-id-}}", ["identity", "log"]),
    ],
)
def test_routes_with_an_assertion_keep_their_issuer(
    tmp_path: Path, identity: str, ignored: list[str]
) -> None:
    """The settings of the demo have the issuer of assertions, and no other prefix of headers."""
    file = tmp_path / "mine.yaml"
    file.write_text(f"identity: {identity}\nlog: {{level: INFO}}\n{ROUTES}")
    taken, others = taken_sections(file)
    assert others == ignored

    listeners = {"admin": {"listen": 1}, "meter": {"listen": 2}}
    settings = model.load(write_settings(tmp_path, listeners, 3, taken, gateway=4), environ={})
    assert settings.identity.assertion_issuer == ISSUER
    assert settings.identity.header_prefix == "x-auth-"
    assert settings.routes[0].assertion == "orders"
