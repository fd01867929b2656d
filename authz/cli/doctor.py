"""`authz doctor`."""

import asyncio
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from authz.cli import color
from authz.cli.administration import local_settings
from authz.cli.invocation import Invocation, common
from authz.cli.options import path_such_as
from authz.cli.over_api import refuse_over_api
from authz.cli.terminal import escaped
from authz.core.errors import BadInput, BadSettings, Unavailable
from authz.core.finding import Finding, Level
from authz.proxy import document, rules
from authz.proxy.chains import Expected
from authz.rpc.check.credential import header_of
from authz.settings.model import Settings
from authz.settings.routes import BudgetCost
from authz.wiring import administration, causes, inspection, pepper_files

HEALTHY, SICK = 0, 1
_COLORS = {Level.OK: color.GREEN, Level.WARN: color.YELLOW, Level.FAIL: color.RED}


@click.command()
@click.option(
    "--envoy",
    metavar="FILE",
    callback=path_such_as("envoy.yaml"),
    help="Look at this Envoy configuration (bootstrap or /config_dump), and not at the store.",
)
@click.option("--store", is_flag=True, help="Look at the store; without --envoy it always is.")
@common
@click.pass_obj
def doctor(invocation: Invocation, envoy: str | None, store: bool) -> int:
    """Say what is wrong with settings, store or Envoy.

    Looks at settings, peppers, store, permissions, clock and link, and says what to do.

    With --envoy: does that configuration ask authz for every request, and as the settings need it?

    Changes nothing. Exit code 0 when nothing fails, 1 when something does; a warning is no failure.

    \b
    Examples:
      authz doctor
      authz doctor --config /etc/authz/authz.yaml
      authz doctor --envoy envoy.yaml
      curl -s localhost:9901/config_dump | authz doctor --envoy /dev/stdin --store
      authz doctor --json | jq '.findings[] | select(.level != "ok")'
    """
    if store or envoy is None:
        refuse_over_api(invocation)
    documents = None if envoy is None else document.read(Path(envoy))
    found = asyncio.run(_all(invocation, documents, store or envoy is None))
    is_healthy = all(finding.level is not Level.FAIL for finding in found)
    report = {"ok": is_healthy, "findings": [asdict(finding) for finding in found]}
    invocation.answer(report, "\n".join(map(finding_line, found)))
    return HEALTHY if is_healthy else SICK


def finding_line(finding: Finding) -> str:
    """Return level, check, description and any advice as one escaped line. The level is painted."""
    advice = f"; {finding.advice}" if finding.advice else ""
    line = f"{finding.check:<11}  {finding.found}{advice}"
    level = finding.level.value
    return (
        f"{color.painted(level, _COLORS[finding.level])}{' ' * (4 - len(level))}  {escaped(line)}"
    )


async def _all(
    invocation: Invocation, documents: Sequence[Any] | None, store: bool
) -> list[Finding]:
    """Return every finding. Invalid settings give a FAIL for each mistake and no other finding.

    documents: an Envoy configuration; None reports that it was not looked at. store: whether the
    pepper files and the store are inspected too.
    """
    try:
        given = local_settings(invocation)
    except BadSettings as cause:
        advice = "see `authz serve --help`"
        return [Finding(Level.FAIL, "settings", str(one), advice) for one in cause.mistakes]
    except BadInput as cause:
        return [Finding(Level.FAIL, "settings", str(cause), "see `authz serve --help`")]
    found = [Finding(Level.OK, "settings", administration.partitions(given)[0].address)]
    found += _enforcement(given)
    if documents is None:
        advice = "`authz doctor --envoy envoy.yaml` looks at its configuration"
        found.append(Finding(Level.OK, "envoy", "not looked at", advice))
    else:
        found += rules.examine(documents, expected_of(given))
    if not store:
        advice = "--store looks at it, too"
        found.append(Finding(Level.OK, "store", "not looked at", advice))
    else:
        found += [_pepper(pepper.version, pepper.file) for pepper in given.keys.peppers]
        found += [finding async for finding in _store(given)]
    return found


def _enforcement(given: Settings) -> list[Finding]:
    """Return up to two warnings: check.enforce is false, and routes with `enforce: false`.

    The list is empty if all refusals are enforced.
    """
    advice = "set it to true once authz.check.would_be_denials shows only what should be refused"
    places = [] if given.check.enforce else ["check.enforce is false"]
    if off := [rule.path for rule in given.routes if rule.enforce is False]:
        more = f" and {len(off) - 1} more" if len(off) > 1 else ""
        places.append(f"enforce is false for the route {off[0]}{more}")
    return [
        Finding(Level.WARN, "enforcement", f"{place}: refused requests are allowed", advice)
        for place in places
    ]


def expected_of(given: Settings) -> Expected:
    """Return the requirements of these settings for the proxy; as carriers, each header once."""
    extract = given.extract
    return Expected(
        header_prefix=given.identity.header_prefix,
        carriers=list(dict.fromkeys(map(header_of, extract.headers))),
        query=extract.query,
        client_address=extract.client_address,
        deadline=given.check.deadline,
        delay=given.shutdown.delay,
        has_rules=bool(given.routes),
        has_methods=any(rule.methods for rule in given.routes),
        has_hosts=any(rule.host for rule in given.routes),
        reads_model=any(rule.rule().reads_model for rule in given.routes),
        has_budgets=any(isinstance(rule.cost, BudgetCost) for rule in given.routes),
        has_assertions=bool(given.identity.assertion_issuer),
        has_limits=bool(given.plans or given.pools.projects or given.pools.tenants),
        repeats=list(
            dict.fromkeys(
                name
                for rule in given.routes
                if rule.charge_once
                for name in rule.charge_once.headers
            )
        ),
    )


async def _store(given: Settings) -> AsyncIterator[Finding]:
    try:
        async with inspection.inspection(given) as findings:
            async for finding in findings:
                yield replace(finding, found=causes.named(given, finding.found))
    except (BadInput, Unavailable) as cause:  # such as a missing pepper or password
        for line in await causes.causes(given, cause):
            if line == str(cause) or not line.startswith(causes.PEPPERS):  # they have lines
                yield Finding(Level.FAIL, "store", f"not looked at: {line}", "mend that first")


def _pepper(version: str, file: Path) -> Finding:
    check = f"pepper {version}"
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        file.read_bytes()
    except OSError as cause:
        advice = "`authz init` makes the first; else copy it from where the keys are made"
        return Finding(Level.FAIL, check, f"{file}: {cause.strerror}", advice)
    if mode & pepper_files.EXPOSED:
        what = f"{file}: others may read or write it (mode {mode:04o})"
        return Finding(Level.WARN, check, what, f"chmod 600 {file}")
    return Finding(Level.OK, check, f"{file}, mode {mode:04o}")
