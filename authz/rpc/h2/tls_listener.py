"""Accepts encrypted connections and counts them before their TLS handshake.

asyncio reports a connection only after its handshake. A client that opened many and sent nothing
would hold every file descriptor of the process for the whole handshake timeout.
"""

import asyncio
import socket
import ssl
from typing import Final

from authz.core.events import Event
from authz.rpc.h2.protocol import H2Protocol
from authz.rpc.h2.server_state import ServerState

HANDSHAKE_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.1  # after an accept that failed, as for want of a file descriptor


class TlsListener:
    """The accept loop of one non-blocking socket. Cancel `run` to end the handshakes, too."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext, state: ServerState) -> None:
        self._listener = listener
        self._tls = tls
        self._state = state

    async def run(self) -> None:
        """Accept connections until cancelled, and do each TLS handshake in a task (at most 5 s).

        A client that `admit` refuses is closed. A failed handshake is counted. After a failed
        accept, wait PAUSE_SECONDS (0.1 s).
        """
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as handshakes:
            while True:
                try:
                    accepted, _ = await loop.sock_accept(self._listener)
                except OSError:
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                if self._state.admit():
                    self._state.handshakes += 1
                    handshakes.create_task(self._shake_hands(accepted))
                else:
                    accepted.close()

    async def _shake_hands(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: H2Protocol(self._state),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except Exception:  # noqa: BLE001  any failure is this connection's alone
            self._state.probe.count(Event.H2_HANDSHAKE_FAILED)
        finally:
            self._state.handshakes -= 1
