"""`authz healthcheck`: ask the sidecar of these settings whether it works."""

import http.client
import json
import socket
from http import HTTPStatus
from typing import Final

import click

from authz.cli.administration import local_settings
from authz.cli.invocation import Invocation, common
from authz.core.listen_address import Address

HEALTHY, UNHEALTHY = 0, 1
SECONDS: Final = 2.0
ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
LISTENERS: Final = ("sidecar", "admin", "meter")
MAX_BYTES: Final = 1 << 20


@click.command()
@click.option("--ready", is_flag=True, help="Ask for readiness: may it get traffic?")
@click.option(
    "--of",
    "part",
    type=click.Choice(LISTENERS),
    default="sidecar",
    show_default=True,
    help="The process that is asked.",
)
@common
@click.pass_obj
def healthcheck(invocation: Invocation, part: str, *, ready: bool) -> int:
    """Ask a sidecar, admin API or meter whether it works.

    It is asked at the address of the settings (ops.listen, admin.http_listen or meter.ops_listen),
    over loopback if that is every address, for at most 2 s. For health commands of containers.
    Exit code 0: it answers as it should, 1: it does not, or nobody answers.

    \b
    Examples:
      authz healthcheck
      authz healthcheck --ready
      authz healthcheck --of meter --json
    """
    settings = local_settings(invocation)
    where = {
        "sidecar": settings.ops.listen,
        "admin": settings.admin.http_listen,
        "meter": settings.meter.ops_listen,
    }[part]
    path = "/readyz" if ready else "/healthz"
    try:
        status, said = _asked(where, path)
    except (OSError, http.client.HTTPException) as fault:
        return _told(invocation, part, path, 0, f"{where} does not answer: {fault}")
    return _told(invocation, part, path, status, said)


def _told(invocation: Invocation, part: str, path: str, status: int, said: str) -> int:
    """Print the result and return the exit code."""
    is_ok = status == HTTPStatus.OK
    document = {"ok": is_ok, "part": part, "path": path, "status": status or None, "said": said}
    invocation.answer(document, f"{part} {path}: {status or 'no answer'} {said}".rstrip())
    return HEALTHY if is_ok else UNHEALTHY


def _asked(where: Address, path: str) -> tuple[int, str]:
    """Return the status and the named state. Raises OSError or HTTPException without an answer."""
    connection = _Connection(where)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.read(MAX_BYTES)
    finally:
        connection.close()
    try:
        state = json.loads(found).get("status")
    except (ValueError, AttributeError):
        state = None
    return answer.status, state if isinstance(state, str) and state.isprintable() else ""


class _Connection(http.client.HTTPConnection):
    """A connection over TCP, or over a Unix socket."""

    def __init__(self, where: Address) -> None:
        super().__init__(ANY.get(where.host, where.host) or "localhost", where.port, SECONDS)
        self._path = where.path

    def connect(self) -> None:
        """Connect."""
        if not self._path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self._path)
