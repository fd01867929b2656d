"""A stand-in for the Limiter where no key has limits."""

from authz.core.limits.amounts import Cost
from authz.core.limits.charge_once import RetryName
from authz.core.records import KeyRecord


def charge_nothing(_key: KeyRecord, _cost: Cost, _once: RetryName | None) -> None:
    """Return None, as `Limiter.spend` does for a key without limits."""
