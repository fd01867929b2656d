"""`authz keys export`: the keys as a file for git, without their secrets."""

from collections.abc import Mapping

import click

from authz.cli import key_file_text, show
from authz.cli.administration import with_exporter
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.selecting import selector_options
from authz.cli.terminal import escaped
from authz.core.declared_changes import AsOf
from authz.core.records import KeyRecord, Status
from authz.core.selector import Selector, State
from authz.flows.command_ports import KeyExporter
from authz.flows.selection import Cost

DONE, INCOMPLETE = 0, 1


@click.command()
@selector_options
@click.option(
    "--no-versions",
    is_flag=True,
    help="Without versions: git alone orders the changes, and the last apply is the base.",
)
@common
@click.pass_obj
def export(invocation: Invocation, /, *, selector: Selector, no_versions: bool) -> int:
    """Print keys as YAML for `authz apply`, without secrets.

    The order is stable. Revoked keys are left out, unless --status revoked asks for them. The
    conditions --client, --project, --tenant and --env become the scope of the file, which
    `apply --prune` looks at. A key that cannot be read is left out; then the exit code is 1.

    \b
    Examples:
      authz keys export > keys.yaml
      authz keys export --client acme-web > acme-web.yaml
    """
    found: list[KeyRecord] = []
    unreadable: list[str] = []

    async def work(session: KeyExporter) -> tuple[AsOf, Mapping[str, str]]:
        as_of = await session.sequence()
        async for entry in session.each(selector, Cost()):
            if entry.record is None:
                unreadable.append(entry.why)
            elif entry.record.status is not Status.REVOKED or State.REVOKED in selector.states:
                found.append(entry.record)
        return as_of, await session.refs()

    as_of, refs = with_exporter(invocation, work)
    text = key_file_text.render(found, selector, as_of, refs, with_versions=not no_versions)
    document = {"as_of": as_of, "keys": [show.document(one) for one in found]}
    invocation.answer(document, text.rstrip("\n"))
    for why in unreadable:
        write_stderr(escaped(f"left out: {why}"))
    return INCOMPLETE if unreadable else DONE
