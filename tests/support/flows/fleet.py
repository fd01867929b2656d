"""Registries of sidecars in memory, and the waits over them."""

from collections.abc import Sequence

from authz.core.audit import AuditEntry
from authz.core.sidecars import Heard, Sidecar
from authz.flows.confirmation import SidecarWait
from tests.support.fakes import NOW, FakeClock


def heard(instance: str, *, applied: int | None, trusted: bool = True, reason: str = "") -> Heard:
    """Return the entry of a sidecar that was just heard, with 7 cached records."""
    sidecar = Sidecar(
        instance=instance,
        version="0.1.0",
        address="",
        started_at=NOW,
        applied=applied,
        lease_ms=1000,
        grace_ms=30_000,
        trusted=trusted,
        reason=reason,
        entries=7,
    )
    return Heard(sidecar, 0)


class MemoryRegistry:
    """A SidecarRegistry. last: the number of the last change."""

    def __init__(self, last: int, entries: Sequence[Heard]) -> None:
        self._last = last
        self._entries = entries

    async def find(self) -> tuple[int, list[Heard]]:
        """Implement SidecarRegistry.find."""
        return self._last, list(self._entries)


class NoTrail:
    """An AuditTrail without entries."""

    async def entry(self, kid: str, version: int) -> AuditEntry | None:
        """Implement AuditTrail.entry."""


def waits(registries: Sequence[MemoryRegistry]) -> list[SidecarWait]:
    """Return a wait over each registry."""
    return [SidecarWait(one, NoTrail(), FakeClock()) for one in registries]
