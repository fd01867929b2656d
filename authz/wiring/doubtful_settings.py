"""Settings that are accepted and have no effect, or not on this machine."""

from collections.abc import Iterator
from pathlib import Path

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.notifications import catalogue
from authz.core.notifications.pattern import fits
from authz.process.notification_receivers import read_secrets
from authz.settings.model import Settings


def doubts(settings: Settings) -> list[BadInput]:
    """Return the settings of events and rotations that cannot work here, each with its problem.

    They are no mistakes: the file may be for several machines, and `authz admin` alone uses them.
    """
    return [*_sinks(settings), *_policies(settings), *_targets(settings)]


def _sinks(settings: Settings) -> Iterator[BadInput]:
    for name, sink in settings.events.sinks.items():
        where = f"events.sinks.{name}"
        for pattern in sink.types:
            if not any(fits(pattern, kind.name) for kind in catalogue.ALL):
                yield BadInput(f"{where}.types", f"no event has the type {shown(pattern)}")
        yield from _secrets(where, sink.secret_file)


def _policies(settings: Settings) -> Iterator[BadInput]:
    for plan in sorted(settings.rotation.plans.keys() - settings.plans.keys()):
        yield BadInput(f"rotation.plans.{plan}", f"plans has no {plan}")


def _targets(settings: Settings) -> Iterator[BadInput]:
    for name, target in settings.rotation.targets.items():
        where = f"rotation.targets.{name}"
        yield from _secrets(where, target.secret_file)
        if target.token_file is not None and not target.token_file.is_file():
            yield BadInput(f"{where}.token_file", f"{target.token_file} is not a file here")
        if target.directory is not None and not target.directory.is_dir():
            yield BadInput(f"{where}.directory", f"{target.directory} is not a directory here")


def _secrets(where: str, file: Path | None) -> Iterator[BadInput]:
    if file is None:
        return
    try:
        read_secrets(file)
    except BadInput as cause:
        yield BadInput(f"{where}.secret_file", f"{cause.problem}; `authz admin` needs it to start")
