"""The settings of one of several sidecars that `authz serve --processes` runs."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from authz.core.errors import BadInput
from authz.core.listen_address import MAX_SOCKET_PATH, Address
from authz.settings.model import Settings

MAX_PORT: Final = 65_535
WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # each takes every address


def addresses(listen: Address, processes: int) -> list[Address]:
    """Return the address for Envoy of each process, in the order of their numbers.

    listen: `check.listen`. Raises BadInput if it has no room for them: port 0, ports above 65535,
    or a path of more than 107 bytes.
    """
    if not listen.path and not listen.port:
        raise BadInput("check.listen", f"{listen}: several processes need a port of their own each")
    found = [listen.numbered(number) for number in range(processes)]
    last = found[-1]
    if last.port > MAX_PORT:
        raise BadInput("check.listen", f"{listen}: process {processes - 1} would need {last.port}")
    if len(last.path.encode()) > MAX_SOCKET_PATH:
        problem = f"{last.path}: a socket path has at most {MAX_SOCKET_PATH} bytes"
        raise BadInput("check.listen", problem)
    return found


def check_addresses(settings: Settings, processes: int) -> list[Address]:
    """Return the address for Envoy of each process, none of which is taken by another listener.

    Raises BadInput as `addresses`, or if one is that of `ops.listen` or `ops.health_listen`, or of
    the operations of a process.
    """
    found = addresses(settings.check.listen, processes)
    ops = settings.ops
    taken = [("ops.listen", ops.listen), ("ops.health_listen", ops.health_listen)]
    if ops.listen.path:
        numbered = (ops.listen.numbered(number) for number in range(processes))
        taken += [("ops.listen of a process", address) for address in numbered]
    for number, listen in enumerate(found):
        for name, address in taken:
            if address is not None and _overlap(listen, address):
                problem = f"{listen} would be that of process {number}, and is {name}; change one"
                raise BadInput("check.listen", problem)
    return found


def _overlap(one: Address, other: Address) -> bool:
    if one.path or other.path:
        return one.path == other.path
    is_same = one.host == other.host or not WILDCARDS.isdisjoint((one.host, other.host))
    return is_same and one.port == other.port


def of_process(settings: Settings, number: int) -> Settings:
    """Return the settings of the process of this number, from 0.

    It has its own address for Envoy and its own snapshot. It does not serve `ops.health_listen`:
    the parent process does.
    """
    snapshot = settings.cache.snapshot
    if snapshot is not None:
        snapshot = snapshot.with_name(f"{snapshot.stem}-{number}{snapshot.suffix}")
    listen = settings.check.listen.numbered(number)
    return settings.changed(
        check=settings.check.changed(listen=listen),
        ops=settings.ops.changed(health_listen=None),
        cache=settings.cache.changed(snapshot=snapshot),
    )


@contextmanager
def operations_addresses(settings: Settings, processes: int) -> Iterator[list[Address]]:
    """Yield the Unix socket for health and metrics of each process.

    They lie beside `ops.listen` if it is a path, else in a new directory, which is removed at the
    end of the block. Raises BadInput if no directory can be made.
    """
    listen = settings.ops.listen
    if listen.path:
        yield [listen.numbered(number) for number in range(processes)]
        return
    try:
        directory = tempfile.TemporaryDirectory(prefix="authz-")
    except OSError as cause:
        problem = f"no directory for the sockets of the processes: {cause.strerror}; name a path"
        raise BadInput("ops.listen", f"{problem}, such as unix:/run/authz/ops.sock") from None
    with directory as path:
        sockets = [Path(path) / f"ops-{number}.sock" for number in range(processes)]
        yield [Address("", 0, str(socket)) for socket in sockets]
