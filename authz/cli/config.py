"""`authz config`: check a settings file."""

import click

from authz.cli.administration import local_settings, settings_file, settings_files
from authz.cli.invocation import Invocation, common
from authz.core.errors import BadInput, BadSettings
from authz.wiring.live_settings import settings_hash
from authz.wiring.validation import mistakes

VALID, INVALID = 0, 1


@click.group(no_args_is_help=False)
@common
def config() -> None:
    """Check the settings before a sidecar uses them.

    \b
    Examples:
      authz config check --config authz.yaml
    """


@config.command()
@common
@click.pass_obj
def check(invocation: Invocation) -> int:
    """List every mistake in the settings.

    Reads the file and those that it includes, the environment, the pepper files and the
    certificates. Asks no store and opens no port. `authz doctor` looks at the store. The version is
    a short hash of the settings; /readyz and `authz sidecars` show the version in force.
    Exit code 0: valid, 1: there are mistakes.

    \b
    Examples:
      authz config check --config authz.yaml
      authz config check --json | jq -r '.mistakes[].setting'
    """
    version, found = _examine(invocation)
    file = settings_file(invocation)
    document = {
        "ok": not found,
        "file": None if file is None else str(file),
        "included": _included(invocation),
        "version": version,
        "mistakes": [{"setting": each.field, "problem": each.problem} for each in found],
    }
    text = "\n".join(f"{each.field}: {each.problem}" for each in found)
    invocation.answer(document, text or f"the settings are valid, version {version}")
    return INVALID if found else VALID


def _included(invocation: Invocation) -> list[str]:
    """Return the paths of included files; empty if the settings file cannot be read."""
    try:
        files = settings_files(invocation)
    except BadInput:
        return []
    return [str(path) for path in files[settings_file(invocation) is not None :]]


def _examine(invocation: Invocation) -> tuple[str | None, list[BadInput]]:
    """Return the version (a hash of the settings) and all mistakes.

    The version is None if the settings cannot be loaded. The list is empty for valid settings.
    """
    try:
        settings = local_settings(invocation)
    except BadSettings as cause:
        return None, list(cause.mistakes)
    except BadInput as cause:
        return None, [cause]
    return settings_hash(settings), mistakes(settings)
