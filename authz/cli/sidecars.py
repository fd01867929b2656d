"""`authz sidecars`: the running sidecars, and the lag of each."""

from typing import Any

import click

from authz.cli import color
from authz.cli.administration import with_sidecars
from authz.cli.columns import columns
from authz.cli.invocation import Invocation, common
from authz.cli.times import rough
from authz.core.sidecars import Heard
from authz.core.times import rfc3339
from authz.process.clock import SystemClock

HEADINGS = ("INSTANCE", "VERSION", "APPLIED", "LAG", "CACHED", "UP", "SETTINGS", "TRUST")


@click.command()
@common
@click.pass_obj
def sidecars(invocation: Invocation) -> None:
    """List the sidecars of this store.

    APPLIED is the last change that a sidecar has confirmed, LAG the number of changes after it. A
    sidecar without a heartbeat within its trust lease has ended or lost the store. It stays in the
    list while it could still serve cached keys. An entry that no sidecar wrote, or that was
    removed, is listed with the reason, and confirms nothing. UP is the time since its start by the
    clock of this machine. SETTINGS is the version of the settings in force, as `authz config check`
    prints it. --json also has the address.

    \b
    Examples:
      authz sidecars
      authz sidecars --json | jq '[.sidecars[] | select(.lag > 0)]'
    """
    seq, heard = with_sidecars(invocation, lambda finder: finder.find())
    alive = [each for each in heard if each.silent_ms < each.reach_ms()]
    document = {"seq": seq, "sidecars": [_document(each, seq) for each in alive]}
    now = SystemClock().wall_ms()
    invocation.answer(document, _table([_row(each, seq, now) for each in alive]))


def _document(heard: Heard, seq: int) -> dict[str, Any]:
    sidecar = heard.sidecar
    return {
        "instance": sidecar.instance,
        "version": sidecar.version,
        "address": sidecar.address,
        "started_at": rfc3339(sidecar.started_at),
        "applied": sidecar.applied,
        "lag": _lag(heard, seq),
        "trusted": heard.is_trusted,
        "reason": _reason(heard),
        "doubt": heard.doubt or None,
        "silent_ms": heard.silent_ms,
        "cached": sidecar.entries,
        "lease_ms": sidecar.lease_ms,
        "outage_grace_ms": sidecar.grace_ms,
        "charges": sidecar.charges or None,
        "issued": sidecar.issued if sidecar.charges else None,
        "settings": sidecar.settings or None,
        "settings_loaded_at": rfc3339(sidecar.settings_at) if sidecar.settings else None,
    }


def _row(heard: Heard, seq: int, now: int) -> tuple[str, ...]:
    sidecar, lag = heard.sidecar, _lag(heard, seq)
    return (
        sidecar.instance,
        sidecar.version or "-",
        "-" if sidecar.applied is None else str(sidecar.applied),
        "-" if lag is None else str(lag),
        str(sidecar.entries),
        rough(max(0, now - sidecar.started_at)) if sidecar.started_at else "-",
        sidecar.settings or "-",
        "yes" if heard.is_trusted else f"no: {_reason(heard)}",
    )


def _lag(heard: Heard, seq: int) -> int | None:
    applied = heard.sidecar.applied
    return None if applied is None else max(0, seq - applied)


def _reason(heard: Heard) -> str:
    if heard.doubt:
        return heard.doubt
    if heard.silent_ms >= heard.sidecar.lease_ms:
        return f"not heard for {heard.silent_ms / 1000:.1f} s"
    return "" if heard.is_trusted else heard.sidecar.reason or "waiting for a heartbeat"


def _table(rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "no sidecar is running"
    return columns([HEADINGS, *rows], {len(HEADINGS) - 1: _trust})


def _trust(cell: str) -> str:
    return color.painted(cell, color.GREEN if cell == "yes" else color.RED)
