"""Endpoint: the address of the store, and how to connect and log in to it."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote, urlsplit

import redis.asyncio
from redis.asyncio import Connection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.maint_notifications import MaintNotificationsConfig

from authz.core.errors import BadInput, Unavailable
from authz.storage.link import LOGIN_MISSING, LOGIN_REFUSED, Link
from authz.storage.marks import Marks
from authz.storage.schema import Names
from authz.storage.seals import StoreSeals

if TYPE_CHECKING:  # most stores are reached without them
    from authz.storage.sentinel import Sentinel
    from authz.storage.tls import TlsFiles

FIELD: Final = "redis.url"
GOOD_URL: Final = "such as redis://127.0.0.1:6379/0 or unix:///run/valkey.sock?db=0"
OLDEST_MAJOR: Final = 7
NO_RESP3: Final = "the store does not speak RESP3; Redis 7 or Valkey is needed"

# A host name or an IPv4 address, or an IPv6 address without its brackets.
_HOST: Final = re.compile(
    r"[a-z0-9_-]{1,63}(?:(?=\.[a-z0-9_-])\.[a-z0-9_-]{1,63})*+\.?|[0-9a-f.]*:[0-9a-z:.%]*", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address of a Redis or Valkey server, or the Sentinels that know it, with login and TLS files.

    `str` shows the address without credentials. namespace: prefix of all names in the store, or "".
    marks: of the clients' entries in the audit trail. seals: makes the seals of one client; None:
    the clients neither make nor check seals. sidecars: how many there are at least.
    """

    host: str
    port: int
    socket_path: str
    db: int
    username: str
    password_file: Path | None
    tls: "TlsFiles | None" = None
    sentinel: "Sentinel | None" = None
    namespace: str = ""
    marks: Marks | None = field(default=None, repr=False, compare=False)
    seals: Callable[[], StoreSeals] | None = field(default=None, repr=False, compare=False)
    sidecars: int = field(default=0, compare=False)

    @classmethod
    def parse(
        cls,
        url: str,
        username: str = "",
        password_file: Path | None = None,
        *,
        tls: "TlsFiles | None" = None,
        sentinel: "Sentinel | None" = None,
        namespace: str = "",
    ) -> "Endpoint":
        """Parse a `redis://`, `rediss://` (TLS) or `unix://` URL.

        Raises BadInput if a part is invalid. A user or password in the URL is refused, because URLs
        appear in logs and process lists. The password comes from `password_file`, read at every
        connect. With `sentinel`, only the scheme and the database of the URL are used, and a
        `unix://` URL is refused. `tls` is refused without `rediss://`. Without a port it is 6379,
        without a database 0. namespace: prefix of all names in the store.
        """
        try:
            parts = urlsplit(url)
            port = 6379 if parts.port is None else parts.port
        except ValueError:
            raise BadInput(FIELD, f"not a URL, {GOOD_URL}") from None
        if parts.password is not None or parts.username is not None:
            raise BadInput(
                FIELD,
                f"holds a user or a password, which belong in redis.username and "
                f"redis.password_file; {GOOD_URL}",
            )
        if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
            db = _database("db=", parts.query)
            where = ("", 0, unquote(parts.path))
        elif parts.scheme in {"redis", "rediss"} and _HOST.fullmatch(parts.hostname or "") and port:
            db = _database("/", parts.path.rstrip("/"))
            where = (parts.hostname or "", port, "")
        else:
            raise BadInput(FIELD, f"not a redis:// or unix:// URL, {GOOD_URL}")
        if parts.fragment or (parts.query and parts.scheme != "unix"):
            raise BadInput(FIELD, f"has something behind the database, {GOOD_URL}")
        if parts.scheme == "rediss":
            from authz.storage.tls import TlsFiles  # noqa: PLC0415

            tls = tls or TlsFiles()
        elif tls is not None:
            raise BadInput("redis.tls", "is for a rediss:// URL; redis.url has none")
        if sentinel is not None and parts.scheme == "unix":
            raise BadInput("redis.sentinel", "names an address; redis.url has to be one, too")
        if sentinel is not None and not all(asked.port for asked in sentinel.hosts):
            raise BadInput("redis.sentinel.hosts", "host:port each, such as 10.0.0.1:26379")
        return cls(*where, db, username, password_file, tls, sentinel, namespace)

    def __str__(self) -> str:
        if self.socket_path:
            return f"unix://{self.socket_path}?db={self.db}"
        if self.sentinel:
            return str(self.sentinel)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"

    @property
    def names(self) -> Names:
        """The names of our data in the store, for this namespace and database."""
        return Names(self.namespace, self.db)

    @property
    def has_replicas(self) -> bool:
        """True if Sentinel names the primary.

        Then the feed requires proof that a replica follows it.
        """
        return self.sentinel is not None

    async def open(self, protocol: Callable[[], Link]) -> Link:
        """Connect, with TLS if configured, and return the link. It is not logged in.

        `greet` does that. Raises OSError if the connection fails, Unavailable if no Sentinel names
        a primary or a TLS file is unusable. It has no timeout of its own.
        """
        loop = asyncio.get_running_loop()
        if self.socket_path:
            return (await loop.create_unix_connection(protocol, self.socket_path))[1]
        host, port = self.host, self.port
        if self.sentinel:
            host, port = await self.sentinel.primary(self._dial)
        security = self.tls.context() if self.tls else None
        return (await loop.create_connection(protocol, host, port, ssl=security))[1]

    async def greet(self, link: Link, name: str) -> dict[str, Any]:
        """Switch to RESP3, log in, name the connection, select the database.

        Return the reply to HELLO. Raises Unavailable if the login is refused, the password file is
        unreadable, the server does not speak RESP3 or is older than Redis 7, or the link fails.
        """
        login = self.login()
        authentication = ("AUTH", *login) if login else ()
        try:
            hello = await link.call("HELLO", "3", *authentication, "SETNAME", name)
        except Unavailable as cause:
            if "unknown command" in str(cause) or "NOPROTO" in str(cause):
                raise Unavailable(NO_RESP3) from None
            raise Unavailable(self.explained(str(cause))) from None
        if not isinstance(hello, dict):
            raise Unavailable(NO_RESP3)
        refuse_old(hello)
        if self.db:
            await link.call("SELECT", str(self.db))
        return hello

    def client(self, timeout: float = 5.0) -> redis.asyncio.Redis:
        """Return a redis-py client for administration. It connects at its first command.

        timeout: seconds for each connect and each reply. No command is repeated. Raises Unavailable
        if a TLS file or the password file is unusable.
        """
        client: redis.asyncio.Redis = self._client(timeout)
        cast("Any", client).names = self.names  # see schema.names_of
        cast("Any", client).marks = self.marks  # see marks.marks_of
        cast("Any", client).sidecars = self.sidecars  # see registry.expected_of
        cast("Any", client).seals = self.seals and self.seals()  # see seals.seals_of
        return client

    def _client(self, timeout: float) -> Any:
        login = {"db": self.db, "credential_provider": _Login(self) if self.login() else None}
        if self.sentinel:
            options = self._options(SentinelManagedConnection, timeout)
            return self.sentinel.client(self._dial, options | login)
        if self.socket_path:
            options = self._options(UnixDomainSocketConnection, timeout)
            return _client(path=self.socket_path, **options, **login)
        options = self._options(Connection, timeout)
        return _client(host=self.host, port=self.port, **options, **login)

    def _dial(self, host: str, port: int, timeout: float) -> redis.asyncio.Redis:
        """Return a client for one Sentinel, without a login.

        timeout: seconds for each connect and each reply.
        """
        return _client(host=host, port=port, **self._options(Connection, timeout))

    def _options(self, kind: type[Any], timeout: float) -> dict[str, Any]:
        if self.tls:
            from authz.storage.tls import secured  # noqa: PLC0415

            self.tls.context()  # raises now if the files cannot be used
            kind = secured(kind, self.tls)
        return {
            "connection_class": kind,
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

    def login(self) -> tuple[str, str] | None:
        """Return user and password, or None if neither a user nor a password is set.

        The user is `default` if only a password is set; the password is "" if only a user is set.
        Reads `password_file` at each call. Raises Unavailable if it is unreadable.
        """
        password = self._password()
        return (self.username or "default", password) if password or self.username else None

    def explained(self, text: str) -> str:
        """Return a message in which a refused login names the setting that is missing or empty."""
        try:
            password = self._password()
        except Unavailable:
            return text
        if password:
            return text
        file = self.password_file
        lack = "redis.password_file is not set" if file is None else f"{file} is empty"
        text = text.replace(LOGIN_MISSING, f"it wants a password (NOAUTH), and {lack}")
        unknown = f"it knows no such user without a password (WRONGPASS), and {lack}"
        return text.replace(LOGIN_REFUSED, unknown)

    def _password(self) -> str:
        if self.password_file is None:
            return ""
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as cause:
            problem = cause.strerror if isinstance(cause, OSError) else "not a text file"
            raise Unavailable(f"redis.password_file: {problem}: {self.password_file}") from None


Client = redis.asyncio.Redis
"""A client of redis-py, as `Endpoint.client` returns it."""


def refuse_old(hello: Mapping[str, Any]) -> None:
    """Raise Unavailable if the reply to HELLO is from a server older than Redis 7.

    A reply without a readable version is accepted.
    """
    found = str(hello.get("version", ""))
    major = found.partition(".")[0]
    if major.isdecimal() and int(major) < OLDEST_MAJOR:
        server = hello.get("server", "server")
        raise Unavailable(f"the store is {server} {found}; Redis 7 or Valkey is needed")


def _client(**options: Any) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_pool(redis.asyncio.ConnectionPool(**options))


class _Login(CredentialProvider):
    """The credentials for redis-py, which asks at every connect."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def get_credentials(self) -> tuple[str, str]:
        """Return user and password: `default` and an empty password if no login is set.

        Raises Unavailable if the password file is unreadable.
        """
        return self._endpoint.login() or ("default", "")

    async def get_credentials_async(self) -> tuple[str, str]:
        """Return the same as `get_credentials`."""
        return self.get_credentials()


def _database(start: str, text: str) -> int:
    match = re.fullmatch(rf"({start}(\d{{1,5}}))?", text, re.ASCII)
    if match is None:
        raise BadInput(FIELD, f"the database is a number, {GOOD_URL}")
    return int(match[2] or 0)
