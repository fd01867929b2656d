"""The settings in force of a running sidecar, and their reload.

A reload exchanges the settings in RELOADABLE and check.enforce, all of them or none. All others
need a restart: they keep their old values, and a log line names those that differ in the file.

A section that stands in fewer files than before was probably cut off with the end of a file, and
without it less may be asked of requests. So a section is removed by a restart alone.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

from authz.core.errors import BadInput
from authz.core.ports import Clock
from authz.settings.model import Settings
from authz.settings.sections import Section

log = logging.getLogger("authz.settings")

RELOADABLE: Final = (
    *("include", "limits", "log", "plans", "pools", "prices"),
    *("routes", "routes_case", "routes_default", "routes_suffix"),
)
ENFORCE: Final = "check.enforce"  # of its section, this alone
PARTITIONS: Final = "redis.partitions"
HASH_DIGITS: Final = 12
OF_ONE_PROCESS: Final = frozenset(
    ("include", "check.listen", "ops.listen", "ops.health_listen", "cache.snapshot")
)


class SettingsVersion(NamedTuple):
    """A short hash of the settings in force, and the time of their load in ms since the epoch."""

    hash: str
    loaded_at: int


class ReloadTarget(Protocol):
    """The components that a reload changes."""

    @property
    def partitions(self) -> int:
        """The number of partitions in use."""
        ...

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Build the new components, in any thread. Return a function that swaps them in.

        The function must be called in the event loop and cannot fail. Raises BadInput for unusable
        settings; then nothing changes.
        """
        ...

    async def migrate(self) -> None:
        """Adapt the limit state of earlier requests to the new settings, in small steps."""
        ...


def settings_hash(settings: Settings) -> str:
    """Return the first HASH_DIGITS hexadecimal digits of a SHA-256 of the values.

    Equal settings have the same hash, from any source and any number of files. Listener addresses
    and the path of the snapshot are left out: each process has its own.
    """
    values = {name: value for name, value in _leaves(settings) if name not in OF_ONE_PROCESS}
    text = json.dumps(values, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def restart_needed(old: Settings, new: Settings) -> list[str]:
    """Return the sorted full names of settings that differ and need a restart; empty if none."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    changed = (name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return sorted(name for name in changed if not _reloads(name))


def _reloads(name: str) -> bool:
    return name == ENFORCE or name.partition(".")[0] in RELOADABLE


class LiveSettings:
    """The settings in force. read: reads the settings again; None if a reload is impossible.

    target: the components that a reload changes. version: hash and time of the last load.
    """

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings] | None,
        target: ReloadTarget,
        clock: Clock,
    ) -> None:
        self._settings = self._wanted = settings
        self._given = settings.given
        self._read = read
        self._target = target
        self._clock = clock
        self._error = ""
        self._waiting: list[str] = []
        self._exchanging = asyncio.Lock()
        self.version = SettingsVersion(settings_hash(settings), clock.wall_ms())

    @property
    def in_force(self) -> Settings:
        """The settings in force."""
        return self._settings

    def report(self) -> dict[str, object]:
        """Return the version, the last error and the settings that need a restart, for /readyz.

        `reason` is "" if the last reload succeeded or there was none. `loaded_at` is ISO 8601 in
        UTC.
        """
        loaded_at = datetime.fromtimestamp(self.version.loaded_at / 1000, UTC)
        return {
            "version": self.version.hash,
            "loaded_at": loaded_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "restart_needed": self._waiting,
            "reason": self._error,
        }

    async def reload(self) -> None:
        """Read the settings and put them in force. Logs the result. Does nothing without `read`.

        If they are invalid or a section is missing now, the old ones stay in force and one warning
        is logged. Settings that need a restart keep their values, with a warning. Returns after the
        limit state has been migrated.
        """
        async with self._exchanging:
            is_reloaded = self._read is not None and await self._reload(self._read)
        if is_reloaded:
            await self._target.migrate()

    async def exchange(self, prepare: Callable[[Settings], Callable[[], None]]) -> None:
        """Exchange components that were made from settings, while no reload is under way.

        prepare: gets the settings in force, in a thread, and returns the function that exchanges.
        """
        async with self._exchanging:
            exchange = await asyncio.to_thread(prepare, self._settings)
            exchange()
            self._waiting = self._restart_needed()

    def _restart_needed(self) -> list[str]:
        found = restart_needed(self._settings, self._wanted)
        if self._wanted.redis.partitions in (None, self._target.partitions):  # it is in use
            return [name for name in found if name != PARTITIONS]
        return found

    async def _reload(self, read: Callable[[], Settings]) -> bool:
        try:
            # In a thread: the file may be long, and requests are answered meanwhile.
            found, exchange = await asyncio.to_thread(self._prepare, read)
        except BadInput as cause:
            self._error = f"not reloaded: {cause}"
            log.warning("settings were not reloaded, the old ones stay in force: %s", cause)
            return False
        self._wanted = found
        self._waiting = self._restart_needed()
        exchange()
        self._settings = _merged(self._settings, found)
        self._given = found.given
        self._error = ""
        self.version = SettingsVersion(settings_hash(self._settings), self._clock.wall_ms())
        log.info("settings reloaded, version %s", self.version.hash)
        if self._waiting:
            names = ", ".join(self._waiting)
            log.warning("settings that need a restart keep their old values: %s", names)
        return True

    def _prepare(self, read: Callable[[], Settings]) -> tuple[Settings, Callable[[], None]]:
        found = read()
        now = found.given
        if missing := sorted(name for name in self._given if now.get(name, 0) < self._given[name]):
            raise BadInput(missing[0], _removed(missing, still=now.get(missing[0], 0)))
        return found, self._target.prepare(_merged(self._settings, found))


def _removed(missing: list[str], still: int) -> str:
    """Return why sections are refused. still: how many sources have the first one now."""
    others = f", and so did {', '.join(missing[1:])}" if missing[1:] else ""
    place = "in more of the settings files" if still else "in the settings"
    return f"it stood {place} before{others}; to remove a section, write it empty, or restart"


def _merged(old: Settings, new: Settings) -> Settings:
    update: dict[str, object] = {name: getattr(new, name) for name in RELOADABLE}
    update["check"] = old.check.changed(enforce=new.check.enforce)
    return old.changed(**update)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Section) else str(value)


def _leaves(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section:
        if isinstance(value, Section):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
