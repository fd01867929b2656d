"""A loopback server that leaves no task, socket or warning behind.

asyncio.start_server leaves a connection behind that it has accepted just before it is closed.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TURNS = 5  # of the loop: more than it takes a transport to begin or to end


@contextlib.asynccontextmanager
async def listening(serve: Serve, port: int = 0) -> AsyncIterator[int]:
    """Run `serve` for each connection, cancelled at the end. Returns the port.

    A connection that it has not closed is aborted at the end. Its exceptions are raised there.
    """
    playing: set[asyncio.Task[None]] = set()
    faults: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        playing.discard(task)
        if not task.cancelled() and (fault := task.exception()):
            faults.append(fault)

    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.setblocking(False)
        accepting = asyncio.create_task(_accept(listener, serve, playing, ended))
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # not a cancel, which might lose a connection
            await accepting
            await _turn()
            while tasks := list(playing):
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            await _turn()
    for fault in faults:
        raise fault


async def _accept(
    listener: socket.socket,
    serve: Serve,
    playing: set[asyncio.Task[None]],
    ended: Callable[[asyncio.Task[None]], None],
) -> None:
    """Accept connections until the listener is shut down."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while True:
            connection, _ = await loop.sock_accept(listener)
            task = asyncio.create_task(_play(connection, serve))
            playing.add(task)
            task.add_done_callback(ended)


async def _play(connection: socket.socket, serve: Serve) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        await serve(reader, writer)
    finally:
        if not writer.transport.is_closing():
            writer.transport.abort()


async def _turn() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


@contextlib.contextmanager
def full_backlog(path: str) -> Iterator[None]:
    """Serve a Unix socket that accepts nobody, with more clients than its backlog takes."""
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as clients:
        busy.bind(path)
        busy.listen(0)
        for _ in range(10):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(path)
        yield
