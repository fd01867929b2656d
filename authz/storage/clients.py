"""Clients of redis-py, and the options that all of ours have."""

import asyncio
from typing import TYPE_CHECKING, Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from authz.storage.reply_types import expect_types

if TYPE_CHECKING:
    from authz.storage.tls import TlsFiles


def client_options(kind: type[Any], tls: "TlsFiles | None", timeout: float) -> dict[str, Any]:
    """Return the options of a client, without an address and a login.

    kind: of its connections. timeout: seconds for each connect and each reply. Raises Unavailable
    if a TLS file is unusable.
    """
    if tls:
        from authz.storage.tls import secured  # noqa: PLC0415

        tls.context()  # raises now if the files cannot be used
        kind = secured(kind, tls)
    return {
        "connection_class": _cancellable(kind),
        "protocol": 3,
        "decode_responses": True,
        "encoding_errors": "surrogateescape",  # an invalid byte must not raise in redis-py
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        # If enabled, redis-py also uses connections that the store has closed meanwhile.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "driver_info": None,
        "client_name": "authz-cli",
    }


def _cancellable(kind: type[Any]) -> type[Any]:
    """Return a subclass of a redis-py connection whose task can be cancelled while it sends.

    redis-py sends with `asyncio.wait_for`. Before Python 3.12 that forgets a cancellation which
    comes in the moment in which all is sent (python/cpython issue 86296). Ctrl-C would then wait
    for the reply, and for that of each repetition.
    """

    class Cancellable(kind):  # type: ignore[misc]
        async def send_packed_command(self, *args: Any, **options: Any) -> None:
            task = asyncio.current_task()
            before = task.cancelling() if task else 0
            await super().send_packed_command(*args, **options)
            if task and task.cancelling() > before:
                await self.disconnect(nowait=True)
                raise asyncio.CancelledError

    return Cancellable


def new_client(**options: Any) -> redis.asyncio.Redis:
    """Return a client with these options, which also name an address."""
    client = redis.asyncio.Redis.from_pool(redis.asyncio.ConnectionPool(**options))
    expect_types(client)
    return client
