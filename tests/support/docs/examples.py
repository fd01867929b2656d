"""The examples of docs/admin-api.md, as they stand there, and the environment that they run in."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from authz.core.access import Role
from tests.support.docs import ROOT
from tests.support.rpc.admin import AdminRig

PAGE: Final = ROOT / "docs" / "admin-api.md"
SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code of a page."""

    language: str
    text: str


def blocks(heading: str) -> list[Block]:
    """Return the blocks below a heading such as `### curl`, up to the next heading, in order."""
    found: list[Block] = []
    here, language, lines = "", "", list[str]()
    for line in PAGE.read_text().splitlines():
        if line.startswith("```") and language:
            if here == heading:
                found.append(Block(language, "".join(f"{each}\n" for each in lines)))
            language = ""
        elif line.startswith("```"):
            language, lines = line.removeprefix("```"), []
        elif language:
            lines.append(line)
        elif line.startswith("#"):
            here = line
    return found


def path_with_go() -> str:
    """Return the PATH, with the places where Go installs programs."""
    places = [os.environ.get("PATH", ""), os.environ.get("GOBIN", "")]
    places += [f"{os.environ.get('GOPATH') or Path.home() / 'go'}/bin"]
    return os.pathsep.join(filter(None, places))


def lacking(*programs: str) -> str:
    """Return what the page needs and is not here, in one line; empty if nothing is."""
    absent = [name for name in programs if shutil.which(name, path=path_with_go()) is None]
    return f"needs {' and '.join(absent)}: see docs/admin-api.md and CONTRIBUTING.md" * bool(absent)


async def environment(rig: AdminRig) -> dict[str, str]:
    """Return the variables of the examples: the addresses of the API, and an admin's key."""
    _, key = await rig.issue([Role.ADMIN.scope])
    return {
        "ADMIN": str(rig.process.server.address),
        "REST": f"http://{rig.process.http}",
        "ADMIN_KEY": key,
    }


async def run(text: str, directory: Path, environment: Mapping[str, str]) -> list[str]:
    """Run a script in bash, in a directory. Return the lines that it prints.

    It stops at the first command that fails. Raises AssertionError then, with the errors.
    """
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", text),
        cwd=directory,
        env=os.environ | {"PATH": path_with_go()} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode().splitlines()
