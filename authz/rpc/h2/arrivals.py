"""Takes connections that are to be encrypted, and counts them from the first moment on.

Left to asyncio, a connection is known once its handshake is done. Who opened many and sent nothing
would hold every file descriptor of the process for as long as a handshake may take.
"""

import asyncio
import socket
import ssl
from typing import Final

from authz.core.events import Event
from authz.rpc.h2.protocol import H2Protocol, Service

HANDSHAKE_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.1  # when the system has no descriptor to give


class Arrivals:
    """One listener of a service, not blocking. Cancel `run` to end the handshakes, too."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext, service: Service) -> None:
        self._listener = listener
        self._tls = tls
        self._service = service

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as handshakes:
            while True:
                try:
                    arrived, _ = await loop.sock_accept(self._listener)
                except OSError:
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                if self._service.has_room():
                    self._service.arriving += 1
                    handshakes.create_task(self._shake_hands(arrived))
                else:
                    arrived.close()

    async def _shake_hands(self, arrived: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: H2Protocol(self._service),
                arrived,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except Exception:  # noqa: BLE001  whatever it is, it is this connection's
            self._service.probe.count(Event.H2_HANDSHAKE_FAILED)
        finally:
            self._service.arriving -= 1
