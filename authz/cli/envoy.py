"""`authz envoy`: repair an Envoy configuration, or print the parts that authz needs."""

import contextlib
import difflib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from authz.cli.administration import local_settings
from authz.cli.color import difference
from authz.cli.doctor import expected_of, finding_line
from authz.cli.invocation import Invocation, common
from authz.cli.options import path_such_as, process_count
from authz.core.errors import BadInput
from authz.core.finding import Finding, Level
from authz.core.listen_address import Address
from authz.proxy import document, rules
from authz.proxy.chains import chains
from authz.proxy.editing import edited
from authz.proxy.repair import repair
from authz.proxy.snippet import METER, snippet
from authz.wiring.several import addresses as addresses_of
from authz.wiring.several import check_addresses

DONE, PROBLEMS = 0, 1
MAX_SIDECARS: Final = 64


@click.group(no_args_is_help=False)
@common
def envoy() -> None:
    """Adapt an Envoy configuration to authz.

    \b
    Examples:
      authz envoy snippet --unix /run/authz/check.sock
      authz envoy patch envoy.yaml
    """


@envoy.command()
@click.argument("file", callback=path_such_as("envoy.yaml"))
@click.option("--write", is_flag=True, help="Write the file. Without it, only show the difference.")
@common
@click.pass_obj
def patch(invocation: Invocation, file: str, write: bool) -> int:
    """Write what `authz doctor --envoy` asks for.

    Shows the difference and keeps comments. Problems that need a decision remain and are listed,
    such as a route that is exempt by prefix. Exit code 1 if one of them is a failure.

    \b
    Examples:
      authz envoy patch envoy.yaml
      authz envoy patch envoy.yaml --write
    """
    expected, path = expected_of(local_settings(invocation)), Path(file)
    text = document.content(path, "FILE")
    if not any(True for _ in chains(document.parsed(text, path, "FILE"))):
        raise BadInput("FILE", f"{path}: has no ext_authz filter; see `authz envoy snippet`")

    def change(documents: Sequence[Any]) -> None:
        if not any(True for _ in chains(documents)):
            raise BadInput("FILE", f"{path}: must name fields in snake_case, as envoy.yaml does")
        repair(documents, expected)

    before = _yaml(text, path)
    after = edited(before, change)
    findings = rules.examine(document.parsed(after.encode(), path, "FILE"), expected)
    remaining = [found for found in findings if found.level is not Level.OK]
    if write and after != before:
        _replace(path, after)
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    diff = "".join(difflib.unified_diff(old, new, str(path), str(path)))
    report = {
        "changed": after != before,
        "written": write and after != before,
        "diff": diff,
        "remaining": [asdict(found) for found in remaining],
    }
    invocation.answer(report, _shown(diff or "nothing to change\n", remaining))
    return PROBLEMS if any(found.level is Level.FAIL for found in remaining) else DONE


def _yaml(text: bytes, path: Path) -> str:
    """Return the text of a YAML file in UTF-8.

    Raises BadInput for other encodings and for JSON (text that begins with `{`), whose lines cannot
    be kept.
    """
    with contextlib.suppress(UnicodeDecodeError):
        if not (found := text.decode()).lstrip().startswith("{"):
            return found
    raise BadInput("FILE", f"{path}: not YAML in UTF-8, such as envoy.yaml")


def _shown(diff: str, remaining: Sequence[Finding]) -> str:
    """Return the painted lines of the difference, then those of the problems that remain.

    Unprintable characters of the difference become `?`.
    """
    lines = ("".join(c if c.isprintable() else "?" for c in line) for line in diff.splitlines())
    return "\n".join([*map(difference, lines), *map(finding_line, remaining)])


def _replace(path: Path, text: str) -> None:
    """Replace the file in one step and keep its mode. A crash leaves the old file.

    A link is followed to its target. Raises BadInput if the directory or the file cannot be
    written.
    """
    target = path.resolve()
    try:
        with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False) as written:
            written.write(text)
        new = Path(written.name)
        new.chmod(target.stat().st_mode & 0o777)
        new.replace(target)
    except OSError as cause:
        raise BadInput("FILE", f"{path}: {cause.strerror}") from None


@envoy.command("snippet")
@click.option(
    "--address",
    "addresses",
    metavar="HOST:PORT",
    multiple=True,
    help="Address of a sidecar. Repeatable. Default: check.listen of the settings.",
)
@click.option(
    "--unix",
    "sockets",
    metavar="PATH",
    multiple=True,
    help="Unix socket of a sidecar. Repeatable.",
)
@click.option(
    "--processes",
    metavar="N",
    default="1",
    callback=process_count,
    help="Processes of `authz serve --processes N` at each address. Default: 1.",
)
@click.option(
    "--meter",
    "meters",
    metavar="HOST:PORT",
    multiple=True,
    help="Address of a meter. Repeatable. Default: 127.0.0.1:9195.",
)
@click.option("--llm", is_flag=True, help="With the filter for LLM APIs.")
@common
@click.pass_obj
def snippet_(
    invocation: Invocation,
    *,
    addresses: tuple[str, ...],
    sockets: tuple[str, ...],
    processes: int,
    meters: tuple[str, ...],
    llm: bool,
) -> None:
    """Print filters, usage logger and clusters for your own Envoy.

    With two or more sidecars the cluster gets a retry policy, which needs Envoy 1.37.

    \b
    Examples:
      authz envoy snippet
      authz envoy snippet --unix /run/authz/1/check.sock --unix /run/authz/2/check.sock
      authz envoy snippet --address 10.0.0.7:9191
      authz envoy snippet --llm
      authz envoy snippet --unix /run/authz/check.sock --processes 4
    """
    settings = local_settings(invocation)
    given = [Address.parse("--address", text) for text in addresses]
    given += [Address.parse("--unix", f"unix:{path}") for path in sockets]
    sidecars = given or [settings.check.listen]
    if processes > 1 and not given:
        sidecars = check_addresses(settings, processes)
    elif processes > 1:
        sidecars = [each for listen in sidecars for each in addresses_of(listen, processes)]
    sidecars = list(dict.fromkeys(sidecars))  # ports of two addresses may overlap
    if len(sidecars) > MAX_SIDECARS:
        raise BadInput("--address", f"{len(sidecars)} sidecars; at most {MAX_SIDECARS}")
    given_meters = [Address.parse("--meter", text) for text in meters]
    collectors = list(dict.fromkeys(given_meters)) or [METER]
    if len(collectors) > MAX_SIDECARS:
        raise BadInput("--meter", f"{len(collectors)} meters; at most {MAX_SIDECARS}")
    text = snippet(expected_of(settings), sidecars, collectors, llm=llm)
    invocation.answer({"snippet": text}, text.rstrip("\n"))
