"""`authz config`: check a settings file."""

from collections.abc import Sequence

import click

from authz.cli.administration import local_settings, settings_file, settings_files
from authz.cli.invocation import Invocation, common, write_warning
from authz.core.errors import BadInput, BadSettings
from authz.settings.model import Settings
from authz.wiring.doubtful_settings import doubts
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

    Settings that are accepted and cannot work here are warnings: types that no event has, policies
    of plans that are missing, and files and directories of sinks and targets that are missing.
    Exit code 0: valid, also with warnings, 1: there are mistakes.

    \b
    Examples:
      authz config check --config authz.yaml
      authz config check --json | jq -r '.mistakes[].setting'
    """
    settings, found = _examine(invocation)
    version = settings_hash(settings) if settings else None
    warnings = doubts(settings) if settings else []
    file = settings_file(invocation)
    document = {
        "ok": not found,
        "file": None if file is None else str(file),
        "included": _included(invocation),
        "version": version,
        "mistakes": _rows(found),
        "warnings": _rows(warnings),
    }
    text = "\n".join(f"{each.field}: {each.problem}" for each in found)
    if not invocation.as_json:
        for each in warnings:
            write_warning(f"{each.field}: {each.problem}")
    invocation.answer(document, text or f"the settings are valid, version {version}")
    return INVALID if found else VALID


def _rows(found: Sequence[BadInput]) -> list[dict[str, str]]:
    return [{"setting": each.field, "problem": each.problem} for each in found]


def _included(invocation: Invocation) -> list[str]:
    """Return the paths of included files; empty if the settings file cannot be read."""
    try:
        files = settings_files(invocation)
    except BadInput:
        return []
    return [str(path) for path in files[settings_file(invocation) is not None :]]


def _examine(invocation: Invocation) -> tuple[Settings | None, list[BadInput]]:
    """Return the settings and all mistakes.

    The settings are None if they cannot be loaded. The list is empty for valid settings.
    """
    try:
        settings = local_settings(invocation)
    except BadSettings as cause:
        return None, list(cause.mistakes)
    except BadInput as cause:
        return None, [cause]
    return settings, mistakes(settings)
