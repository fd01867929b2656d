"""Readiness of this process for requests. Probes over HTTP and gRPC get the same answer."""

from collections.abc import Sized
from dataclasses import Field, asdict
from typing import Any, ClassVar, Protocol


class StoreHealth(Protocol):
    """The state of the link to the store: a dataclass whose fields are JSON members."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def trusted(self) -> bool:
        """True if a heartbeat within the trust lease proved the link to the store."""
        ...


class Feed(Protocol):
    """The link to the store."""

    def health(self) -> StoreHealth:
        """Return the state of the link at this moment."""
        ...


class Cache(Sized, Protocol):
    """The cached records."""

    @property
    def grace_left(self) -> float:
        """Seconds for which stale records may still be served; 0 when none may."""
        ...


class LimitLink(Protocol):
    """The link on which limits are counted."""

    @property
    def reason(self) -> str:
        """The reason why limits are not counted in the store; "" while they are."""
        ...


class LiveSettings(Protocol):
    """The settings in force."""

    def report(self) -> dict[str, object]:
        """Return the version of the settings and the fault of the last reload as JSON members."""
        ...


class ReadinessReport(Protocol):
    """Readiness as probes see it."""

    def __call__(self) -> bool:
        """Return whether requests can be served now."""
        ...

    def report(self) -> tuple[bool, dict[str, object]]:
        """Return the readiness, and by component its state as JSON members."""
        ...


class Readiness:
    """The readiness of this process for requests, and the state of its components.

    During a store outage the process stays ready while stale records may be served. Otherwise one
    store outage would take every backend behind Envoy out of service.
    """

    def __init__(self, feed: Feed, cache: Cache, limits: LimitLink, settings: LiveSettings) -> None:
        self.replace(feed, cache, limits)
        self._settings = settings
        self.leaving = ""
        """Why the process is shutting down; empty while it is not."""

    def replace(self, feed: Feed, cache: Cache, limits: LimitLink) -> None:
        """Ask these from now on."""
        self._feed = feed
        self._cache = cache
        self._limits = limits

    def __call__(self) -> bool:
        """Return whether the process is ready for requests now.

        True if it is not shutting down, and the store is trusted or stale records may be served.
        """
        return not self.leaving and self._is_supplied

    def report(self) -> tuple[bool, dict[str, object]]:
        """Return the readiness, and by component its state as JSON members.

        `reason` names a fault, also one that does not make the process unready; "" if there is
        none. `outage_grace_left`: seconds.
        """
        health, grace = self._feed.health(), self._cache.grace_left
        return self(), {
            "process": {"ready": not self.leaving, "reason": self.leaving},
            "store": {"ready": self._is_supplied} | asdict(health),
            "cache": {"entries": len(self._cache), "outage_grace_left": round(grace, 3)},
            # Limits have their own link, which can fail alone; then `limits.on_outage` decides.
            "limits": {"counted": not self._limits.reason, "reason": self._limits.reason},
            "settings": self._settings.report(),
        }

    @property
    def _is_supplied(self) -> bool:
        return self._feed.health().trusted or self._cache.grace_left > 0
