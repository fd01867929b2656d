"""Mistakes in settings that `serve` would refuse, found without a store and without a listener."""

from collections.abc import Callable, Iterator

from authz.core.errors import BadInput, Unavailable
from authz.process.clock import SystemClock
from authz.process.listener import TlsFiles, refuse_plaintext, server_tls
from authz.settings.model import Settings
from authz.wiring.administration import endpoint, keyring
from authz.wiring.extraction import route_table
from authz.wiring.telemetry import Telemetry


def mistakes(settings: Settings) -> list[BadInput]:
    """Return the first mistake of each check of these settings; empty if there is none.

    Checked: store, peppers, Check listener, routes, telemetry. It reads their files but connects to
    nothing and binds nothing.
    """
    return list(_found(settings))


def _found(settings: Settings) -> Iterator[BadInput]:
    checks: tuple[Callable[[Settings], object], ...] = (
        *(_store, _peppers, _listener, route_table),
        lambda settings: Telemetry(settings, SystemClock()),
    )
    for check in checks:
        try:
            check(settings)
        except BadInput as cause:
            yield cause


def _store(settings: Settings) -> None:
    where, password = endpoint(settings), settings.redis.password_file
    try:
        if where.tls is not None:
            where.tls.context()
    except Unavailable as cause:
        name, _, problem = str(cause).partition(": ")
        raise BadInput(name, problem) from None
    if password is not None:
        try:
            password.read_bytes()
        except OSError as cause:
            raise BadInput("redis.password_file", f"{password}: {cause.strerror}") from None


def _peppers(settings: Settings) -> None:
    keyring(settings)


def _listener(settings: Settings) -> None:
    check, tls = settings.check, settings.check.tls
    refuse_plaintext(check.listen, encrypted=tls is not None, allowed=check.allow_plaintext)
    if tls is not None:
        server_tls(TlsFiles(tls.cert, tls.key, tls.client_ca))
