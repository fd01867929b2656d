"""Settings and store access for commands. Slow to import, so main.py does not import it."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from authz.cli.invocation import Invocation
from authz.cli.over_api import admin_target, is_over_api, refuse_over_api
from authz.cli.session_loop import within
from authz.core.errors import BadInput, NotFound
from authz.settings.model import Settings, included, load

if TYPE_CHECKING:  # a command imports only what it uses
    from authz.core.records import KeyRecord
    from authz.flows.command_ports import KeyEditor, KeyExporter, SidecarFinder, TrailReader
    from authz.flows.notifications.sinks import EventSinks
    from authz.flows.usage.reading import UsageReading
    from authz.wiring.session import BulkSession, FileSession, TokenSession, UsageSession
    from authz.wiring.usage import BillingSession
    from authz.wiring.verification import AdminSession

_T = TypeVar("_T")
_Session = TypeVar("_Session")


def load_settings(invocation: Invocation, **flags: dict[str, Any]) -> Settings:
    """Return the settings of file, environment and flags; --redis and the flags win.

    Raises BadInput if they are invalid or a file cannot be read, and with --admin: the command
    would work on another installation.
    """
    refuse_over_api(invocation)
    return local_settings(invocation, **flags)


def stored_settings(invocation: Invocation) -> Settings:
    """Return the settings of `load_settings` with the number of partitions of the store.

    The store is asked for it, unless the settings name several. Raises as `load_settings`.
    """
    from authz.wiring.partition_count import resolved_if_possible  # noqa: PLC0415

    return asyncio.run(resolved_if_possible(load_settings(invocation)))


def local_settings(invocation: Invocation, **flags: dict[str, Any]) -> Settings:
    """Return the settings, also with --admin. Raises BadInput as `load_settings`."""
    if invocation.redis is not None:
        flags["redis"] = {"url": invocation.redis}
    try:
        return load(settings_file(invocation), flags)
    except BadInput as cause:
        if invocation.config is None and cause.field == "--config":
            raise BadInput("$AUTHZ_CONFIG", cause.problem) from None
        raise


def settings_files(invocation: Invocation) -> list[Path]:
    """Return the path of the settings file, if any, then those that the settings include.

    Included files may be missing. Raises BadInput if the settings file cannot be read.
    """
    file = settings_file(invocation)
    return [*([file] if file else []), *included(file)]


def settings_file(invocation: Invocation) -> Path | None:
    """Return the path of --config, else of $AUTHZ_CONFIG, or None if neither is set."""
    file = os.environ.get("AUTHZ_CONFIG") if invocation.config is None else invocation.config
    return None if file is None else Path(file)


def with_session(invocation: Invocation, work: Callable[["AdminSession"], Awaitable[_T]]) -> _T:
    """Run `work` with an AdminSession on a new event loop, and return its result.

    Raises BadInput for invalid settings, Unavailable if the store is unreachable or not ours, and
    the errors of `work`.
    """
    from authz.wiring import verification  # noqa: PLC0415

    return _run(invocation, verification.admin_session, work)


def with_bulk(
    invocation: Invocation, work: Callable[["BulkSession"], Awaitable[_T]], *, reads: bool = True
) -> _T:
    """Run `work` with a BulkSession on a new event loop, and return its result.

    With --admin, the session uses the admin API. reads: `work` changes nothing. Raises BadInput for
    invalid settings, Unavailable if the store or the API cannot be used, also if `work` only reads
    and may have missed data because the store was moved meanwhile, and the errors of `work`.
    """
    if is_over_api(invocation):
        from authz.wiring import remote  # noqa: PLC0415

        return within(remote.bulk_session(admin_target(invocation)), work)
    from authz.wiring import many_keys  # noqa: PLC0415

    return _run(invocation, partial(many_keys.bulk_session, reads=reads), work)


def with_files(invocation: Invocation, work: Callable[["FileSession"], Awaitable[_T]]) -> _T:
    """Run `work` with a FileSession on a new event loop, and return its result.

    With --admin, the session uses the admin API. Raises BadInput for invalid settings,
    Unavailable if the store or the API cannot be used, and the errors of `work`.
    """
    if is_over_api(invocation):
        from authz.wiring import remote  # noqa: PLC0415

        return within(remote.file_session(admin_target(invocation)), work)
    from authz.wiring import key_files  # noqa: PLC0415

    return _run(invocation, key_files.file_session, work)


def with_usage(invocation: Invocation, work: Callable[["UsageSession"], Awaitable[_T]]) -> _T:
    """Run `work` with a UsageSession on a new event loop, and return its result.

    With --admin, the session uses the admin API. Raises BadInput for invalid settings,
    Unavailable if the store or the API cannot be used, and the errors of `work`.
    """
    if is_over_api(invocation):
        from authz.wiring import remote  # noqa: PLC0415

        return within(remote.usage_session(admin_target(invocation)), work)
    from authz.wiring import usage  # noqa: PLC0415

    return _run(invocation, usage.usage_session, work)


def with_reading(invocation: Invocation, work: Callable[["UsageReading"], Awaitable[_T]]) -> _T:
    """Run `work` with the UsageReading of the store, and return its result.

    Raises BadInput for invalid settings, Unavailable if the store is unreachable or not ours, and
    the errors of `work`.
    """
    from authz.wiring import usage  # noqa: PLC0415

    return _run(invocation, usage.reading_session, work)


def with_events(invocation: Invocation, work: Callable[["EventSinks"], Awaitable[_T]]) -> _T:
    """Run `work` with an EventSinks on a new event loop, and return its result.

    With --admin, it uses the admin API. Raises BadInput for invalid settings, Unavailable if the
    store or the API cannot be used, and the errors of `work`.
    """
    if is_over_api(invocation):
        from authz.wiring import remote  # noqa: PLC0415

        return within(remote.event_session(admin_target(invocation)), work)
    from authz.wiring import notifications  # noqa: PLC0415

    return _run(invocation, notifications.event_session, work)


def with_tokens(invocation: Invocation, work: Callable[["TokenSession"], Awaitable[_T]]) -> _T:
    """Run `work` with a TokenSession on a new event loop, and return its result.

    With --admin, it uses the admin API. Raises BadInput for invalid settings or without
    tokens.issuer, Unavailable if the store or the API cannot be used, and the errors of `work`.
    """
    if is_over_api(invocation):
        from authz.wiring import remote  # noqa: PLC0415

        return within(remote.token_session(admin_target(invocation)), work)
    from authz.wiring import tokens  # noqa: PLC0415

    return _run(invocation, tokens.token_session, work)


def with_exporter(invocation: Invocation, work: Callable[["KeyExporter"], Awaitable[_T]]) -> _T:
    """Run `work` with a KeyExporter on a new event loop, and return its result.

    With --admin, the exporter uses the admin API. Raises BadInput for invalid settings,
    Unavailable if the store or the API cannot be used, and the errors of `work`.
    """
    if is_over_api(invocation):
        from authz.wiring import remote  # noqa: PLC0415

        return within(remote.exporter(admin_target(invocation)), work)
    from authz.wiring import key_files  # noqa: PLC0415

    return _run(invocation, key_files.key_exporter, work)


def with_trail(invocation: Invocation, work: Callable[["TrailReader"], Awaitable[_T]]) -> _T:
    """Run `work` with a TrailReader on a new event loop, and return its result.

    With --admin, the reader uses the admin API. Raises BadInput for invalid settings,
    Unavailable if the store or the API cannot be used, and the errors of `work`.
    """
    if is_over_api(invocation):
        from authz.wiring import remote  # noqa: PLC0415

        return within(remote.audit(admin_target(invocation)), work)
    from authz.wiring import audit  # noqa: PLC0415

    return _run(invocation, audit.trail_reader, work)


def with_sidecars(invocation: Invocation, work: Callable[["SidecarFinder"], Awaitable[_T]]) -> _T:
    """Run `work` with a SidecarFinder on a new event loop, and return its result.

    With --admin, the finder uses the admin API. Raises BadInput for invalid settings,
    Unavailable if the store or the API cannot be used, and the errors of `work`.
    """
    if is_over_api(invocation):
        from authz.wiring import remote  # noqa: PLC0415

        return within(remote.sidecars(admin_target(invocation)), work)
    from authz.wiring import administration  # noqa: PLC0415

    return _run(invocation, administration.sidecar_registry, work)


def with_billing(settings: Settings, work: Callable[["BillingSession"], Awaitable[_T]]) -> _T:
    """Run `work` with a BillingSession on a new event loop, and return its result.

    Raises Unavailable if the store is unreachable or not ours, and the errors of `work`.
    """
    from authz.wiring import usage  # noqa: PLC0415

    return within(usage.billing_session(settings), work)


def with_editor(invocation: Invocation, work: Callable[["KeyEditor"], Awaitable[_T]]) -> _T:
    """Run `work` with a KeyEditor on a new event loop, and return its result.

    With --admin, the editor uses the admin API. Raises BadInput for invalid settings,
    Unavailable if the store or the API cannot be used, and the errors of `work`.
    """
    if is_over_api(invocation):
        from authz.wiring import remote  # noqa: PLC0415

        return within(remote.editor(admin_target(invocation)), work)
    from authz.wiring import administration  # noqa: PLC0415

    return _run(invocation, administration.editor, work)


async def read_record(session: "BulkSession", kid: str) -> "KeyRecord":
    """Return the record of a key.

    Raises NotFound if no key has the kid, Unreadable if it cannot be read, Unavailable.
    """
    record = await session.keys.find(kid)
    if record is None:
        raise NotFound(f"no key has the kid {kid}")
    return record


def known_plans(invocation: Invocation, named: str | None) -> Collection[str]:
    """Return the plans that a command may name: those of the settings, if it names one.

    With --admin it is `named` alone: the server knows the plans.
    """
    if named is None:
        return ()
    return (named,) if is_over_api(invocation) else load_settings(invocation).plans


def all_plans(invocation: Invocation) -> Collection[str]:
    """Return the plans of the settings; with --admin those of the server.

    Raises BadInput for invalid settings, Unavailable if the API cannot be used.
    """
    if not is_over_api(invocation):
        return load_settings(invocation).plans
    from authz.wiring import remote  # noqa: PLC0415

    async def names(found: Collection[str]) -> Collection[str]:
        return found

    return within(remote.plans(admin_target(invocation)), names)


def _run(
    invocation: Invocation,
    begin: Callable[[Settings], AbstractAsyncContextManager[_Session]],
    work: Callable[[_Session], Awaitable[_T]],
) -> _T:
    return within(begin(stored_settings(invocation)), work)
