"""TLS towards the store, with files that may be replaced while the process runs."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Connection

from authz.core.errors import Unavailable


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, read at every connect, so the next connection uses a renewed certificate.

    ca: authorities that may sign the store's certificate; None: those that the system trusts. cert
    and key: our client certificate. The store's certificate must name the host of the connection.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files and return the context for one connection: TLS 1.2 or newer.

        It verifies the certificate and the host name. Raises Unavailable for a file that is missing
        or no usable PEM.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if self.ca is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(self.ca)
        except OSError as cause:  # includes ssl.SSLError
            raise _unusable("redis.tls.ca", self.ca, cause) from None
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key)
            except OSError as cause:
                raise _unusable("redis.tls.cert and key", self.cert, cause) from None
        return context


def secured(kind: type[Connection], files: TlsFiles) -> type[Connection]:
    """Return a subclass of a redis-py connection that reads the files at every connect.

    redis-py's own TLS reads them once per connection object, which it reuses. It also trusts the
    system's authorities besides the named one.
    """

    class Secured(kind):  # type: ignore[valid-type, misc]
        def _connection_arguments(self) -> Mapping[str, Any]:
            return {**super()._connection_arguments(), "ssl": files.context()}

    return Secured


def _unusable(setting: str, file: Path | None, cause: OSError) -> Unavailable:
    why = "no usable PEM" if isinstance(cause, ssl.SSLError) else cause.strerror
    return Unavailable(f"{setting}: {file}: {why}")
