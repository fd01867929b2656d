"""The install without the internet, as docs/operations.md says: wheels first, then no network.

It downloads every package, so `make test` leaves it out: `make air-gapped` runs it.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.deploy.image import index, needs_namespaces
from tests.support.docs import ROOT

SECTION = (
    (ROOT / "docs" / "operations.md")
    .read_text()
    .partition("### Without the internet\n")[2]
    .partition("\n### ")[0]
)


@needs_namespaces
@pytest.mark.timeout(600)
def test_the_wheels_are_enough(tmp_path: Path) -> None:
    """After the first command of the page, authz installs in a network namespace without a net."""
    download, _envoy = re.findall(r"^\$ (python3 -m pip download .*)$", SECTION, re.MULTILINE)
    (settings,) = re.findall(r"^\$ (export PIP_.*)$", SECTION, re.MULTILINE)
    wheels = tmp_path / "wheels"
    collect = download.replace("--dest wheels", f"--dest {wheels}").replace("pip", "pip --quiet", 1)
    subprocess.run(["sh", "-ec", collect], check=True, cwd=ROOT, env=os.environ | index())
    offline = settings.replace("$PWD/wheels", str(wheels))
    install = f"""{offline}
    python3 -m venv {tmp_path}/authz
    {tmp_path}/authz/bin/pip install --quiet --constraint deploy/constraints.txt .
    {tmp_path}/authz/bin/authz --version"""
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", install],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("authz ")
