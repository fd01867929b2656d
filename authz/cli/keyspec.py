"""What is asked of a new key, read from the options of a command."""

from typing import Any, Final

from authz.cli.times import moment_ms
from authz.clock import SystemClock
from authz.core import fields
from authz.core.changes import KeySpec
from authz.core.errors import BadInput

NEVER: Final = "never"


def key_spec(client: str, env: str, name: str, **asked: Any) -> KeySpec:
    """Read what was asked for. Raises BadInput, which names the option."""
    return KeySpec(
        client_id=fields.identifier("--client", client),
        env=env,
        name=fields.line("--name", name),
        project_id=_optional_id("--project", asked["project"]),
        tenant_id=_optional_id("--tenant", asked["tenant"]),
        scopes=_scopes(asked["scopes"]),
        not_before=_not_before(asked["not_before"]),
        life_ms=life_ms("--expires-in", asked["expires_in"]),
        allowed_cidrs=fields.networks("--cidr", asked["cidrs"]),
        allowed_hosts=fields.hosts("--host", asked["hosts"]),
        allowed_origins=fields.origins("--origin", asked["origins"]),
        metadata=_metadata(asked["metadata"]),
    )


def _optional_id(field: str, text: str | None) -> str:
    return "" if text is None else fields.identifier(field, text)


def _not_before(text: str | None) -> int | None:
    return None if text is None else moment_ms("--not-before", text, SystemClock().wall_ms())


def life_ms(field: str, text: str) -> int | None:
    """How long a key lives: a duration, or None for `never`. Raises BadInput."""
    life = None if text == NEVER else fields.duration_ms(field, text)
    if life == 0:
        raise BadInput(field, "0 is no life; `never` is one without an end")
    return life


def _scopes(given: tuple[str, ...]) -> frozenset[str]:
    for text in given:
        if " " in text or "," in text:
            raise BadInput("--scope", f"{fields.shown(text)}: one scope each, --scope a --scope b")
    return fields.scopes("--scope", given)


def _metadata(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput("--metadata", f"{fields.shown(text)} is not name=value")
        if name in found:
            raise BadInput("--metadata", f"{fields.shown(name)} is given twice")
        found[name] = value
    return fields.metadata("--metadata", found)
