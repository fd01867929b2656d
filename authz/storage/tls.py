"""TLS towards the store: files that may be replaced while we run."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Connection

from authz.core.errors import Unavailable


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, read at every connect: a certificate that was renewed is used by the next one.

    ca: who may vouch for the store; None: whoever this system trusts. cert and key: who we are.
    The store's certificate has to name the host that was connected to.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For one connection. Raises Unavailable, which names the setting."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if self.ca is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(self.ca)
        except OSError as cause:  # ssl.SSLError is one
            raise _unusable("redis.tls.ca", self.ca, cause) from None
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key)
            except OSError as cause:
                raise _unusable("redis.tls.cert and key", self.cert, cause) from None
        return context


def secured(kind: type[Connection], files: TlsFiles) -> type[Connection]:
    """A kind of connection of redis-py's that reads the files anew.

    Its own TLS reads them once for each connection object, which it uses again, and trusts the
    system's authorities besides the one that is named.
    """

    class Secured(kind):  # type: ignore[valid-type, misc]
        def _connection_arguments(self) -> Mapping[str, Any]:
            return {**super()._connection_arguments(), "ssl": files.context()}

    return Secured


def _unusable(setting: str, file: Path | None, cause: OSError) -> Unavailable:
    why = "no usable PEM" if isinstance(cause, ssl.SSLError) else cause.strerror
    return Unavailable(f"{setting}: {file}: {why}")
