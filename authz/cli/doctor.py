"""`authz doctor`."""

import asyncio
import stat
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from authz import app
from authz.cli.administration import settings
from authz.cli.invocation import Invocation, common
from authz.core.errors import BadInput, Unavailable
from authz.storage.inspection import Finding, Level

HEALTHY, SICK = 0, 1
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@click.command()
@common
@click.pass_obj
def doctor(invocation: Invocation) -> int:
    """Check settings, peppers, store, permissions, clock and link, and say what to do.

    Changes nothing. Exit code 0 when nothing fails, 1 when something does; a warning is no failure.

    \b
    Examples:
      authz doctor
      authz doctor --config /etc/authz/authz.yaml
      authz doctor --json | jq '.findings[] | select(.level != "ok")'
    """
    found = asyncio.run(_all(invocation))
    is_healthy = all(finding.level is not Level.FAIL for finding in found)
    document = {"ok": is_healthy, "findings": [asdict(finding) for finding in found]}
    invocation.answer(document, "\n".join(map(_line, found)))
    return HEALTHY if is_healthy else SICK


def _line(finding: Finding) -> str:
    advice = f"; {finding.advice}" if finding.advice else ""
    return f"{finding.level.value:<4}  {finding.check:<11}  {finding.found}{advice}"


async def _all(invocation: Invocation) -> list[Finding]:
    return [finding async for finding in _findings(invocation)]


async def _findings(invocation: Invocation) -> AsyncIterator[Finding]:
    """What is wrong with the settings ends it: nothing else can be looked at then."""
    try:
        found = settings(invocation)
        yield Finding(Level.OK, "settings", str(app.endpoint(found)))
    except BadInput as cause:
        yield Finding(Level.FAIL, "settings", str(cause), "see `authz serve --help`")
        return
    for pepper in found.keys.peppers:
        yield _pepper(pepper.version, pepper.file)
    try:
        async with app.inspection(found) as findings:
            async for finding in findings:
                yield finding
    except (BadInput, Unavailable) as cause:  # no pepper to compare with, no password
        yield Finding(Level.FAIL, "store", f"not looked at: {cause}", "mend that first")


def _pepper(version: str, file: Path) -> Finding:
    check = f"pepper {version}"
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        file.read_bytes()
    except OSError as cause:
        advice = "`authz init` makes the first; else copy it from where the keys are made"
        return Finding(Level.FAIL, check, f"{file}: {cause.strerror}", advice)
    if mode & OTHERS:
        what = f"{file}: others may read or write it (mode {mode:04o})"
        return Finding(Level.WARN, check, what, f"chmod 600 {file}")
    return Finding(Level.OK, check, f"{file}, for its owner alone")
