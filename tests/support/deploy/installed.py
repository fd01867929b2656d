"""A wheel of ours, installed into an environment of its own."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


class Installed:
    """An environment with a wheel, and with the dependencies of the environment of the tests."""

    def __init__(self, wheel: Path, place: Path) -> None:
        self.place = place
        venv.create(place)
        pip = [sys.executable, "-m", "pip", "--python", str(place / "bin/python"), "--quiet"]
        install = [*pip, "install", "--no-deps", "--no-index", "--no-compile", str(wheel)]
        subprocess.run(install, check=True, capture_output=True)
        (self.site,) = place.glob("lib/python*/site-packages")
        # The editable authz of the tests does not come along: .pth files count only in a site
        # directory.
        (self.site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))

    def run(self, program: str, *arguments: str) -> str:
        """Run a program of the environment and return what it printed.

        Raises CalledProcessError if it fails.
        """
        command = [self.place / "bin" / program, *arguments]
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            command, cwd=self.place, env=own, check=True, capture_output=True, text=True
        ).stdout
