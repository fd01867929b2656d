"""Mistakes in settings that `serve` would refuse, found without a store and without a listener."""

from collections.abc import Callable

from authz.core.errors import BadInput, Unavailable
from authz.process.clock import SystemClock
from authz.process.listener import TlsFiles, refuse_plaintext, server_tls
from authz.settings.model import Settings
from authz.wiring.administration import keyring, partitions
from authz.wiring.extraction import route_table
from authz.wiring.pepper_files import pepper_mistakes
from authz.wiring.telemetry import Telemetry


def mistakes(settings: Settings) -> list[BadInput]:
    """Return the mistakes of these settings, the first of each check; empty if there is none.

    Checked: store, each pepper, Check listener, routes, telemetry. It reads their files but
    connects to nothing and binds nothing.
    """
    return [
        *store_mistakes(settings),
        *(pepper_mistakes(settings) or _found(settings, keyring)),
        *_found(settings, _listener, route_table, _telemetry),
    ]


def store_mistakes(settings: Settings) -> list[BadInput]:
    """Return the mistakes of `redis`: its address, its TLS files, its password file."""
    found = _found(settings, partitions)
    return found or _found(settings, _store_tls, _password)


def _found(settings: Settings, *checks: Callable[[Settings], object]) -> list[BadInput]:
    found = []
    for check in checks:
        try:
            check(settings)
        except BadInput as cause:
            found.append(cause)
    return found


def _store_tls(settings: Settings) -> None:
    where = partitions(settings)[0]
    try:
        if where.tls is not None:
            where.tls.context()
    except Unavailable as cause:
        name, _, problem = str(cause).partition(": ")
        raise BadInput(name, problem) from None


def _password(settings: Settings) -> None:
    password = settings.redis.password_file
    if password is not None:
        try:
            password.read_text(encoding="utf-8")
        except OSError as cause:
            raise BadInput("redis.password_file", f"{password}: {cause.strerror}") from None
        except ValueError:
            raise BadInput("redis.password_file", f"{password}: not a text file") from None


def _listener(settings: Settings) -> None:
    check, tls = settings.check, settings.check.tls
    refuse_plaintext(check.listen, encrypted=tls is not None, allowed=check.allow_plaintext)
    if tls is not None:
        server_tls(TlsFiles(tls.cert, tls.key, tls.client_ca))


def _telemetry(settings: Settings) -> None:
    Telemetry(settings, SystemClock())
