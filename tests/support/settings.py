"""Helpers of settings tests."""

from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from authz.core.errors import BadInput
from authz.settings.model import Settings, load
from authz.settings.sections import Section

NEIGHBOURS: dict[str, dict[str, Any]] = {
    "check.tls": {"cert": "c.pem", "key": "k.pem"},
    "admin.tls": {"cert": "c.pem", "key": "k.pem"},
    "meter.tls": {"cert": "c.pem", "key": "k.pem"},
    "telemetry.otlp": {"endpoint": "http://127.0.0.1:4318"},
    "redis.tls": {"cert": "c.pem", "key": "k.pem"},
    "admin.console.login": {"client_id": "authz-console"},
    "admin.oidc": {"issuer": "https://idp.example.com", "audience": "authz"},
    "redis.sentinel": {"hosts": ["10.0.0.1:26379"], "service": "mymaster"},
}


def settings_names(section: type[Section] = Settings, prefix: str = "") -> list[str]:
    """Return the dotted names of all settings: `check.listen`, `check.tls.cert`, `keys.peppers`."""
    names = []
    for name, field in section.settings().items():
        kinds = (field.kind, *get_args(field.kind))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
        if inner and Ellipsis not in kinds and get_origin(field.kind) is not dict:
            names += settings_names(inner[0], f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def written(directory: Path, content: str | bytes) -> Path:
    """Write a settings file. Return its path."""
    file = directory / "authz.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def tree_of(name: str, value: Any) -> dict[str, Any]:
    """Return the sections of a file that sets `name`, such as `check.listen`."""
    for step in reversed(name.split(".")):
        value = {step: value}
    return value


def beside(name: str) -> dict[str, Any]:
    """Return the other settings that `name` needs."""
    section = name.rpartition(".")[0]
    return tree_of(section, NEIGHBOURS[section]) if section in NEIGHBOURS else {}


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return "AUTHZ_" + name.upper().replace(".", "__")


def value_of(settings: Settings, name: str) -> Any:
    """Return the value of a setting."""
    part: Any = settings
    for step in name.split("."):
        part = getattr(part, step)
    return part


def refusal(file: Path | None = None, flags: Any = None, environ: Any = None) -> str:
    """Return the error message of `load`."""
    with pytest.raises(BadInput) as caught:
        load(file, flags or {}, environ or {})
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    return message
