"""Endpoint: where the store is and how to say hello to it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from authz.core.errors import BadInput, Unavailable
from authz.storage.link import Link

GOOD_URL = "such as redis://127.0.0.1:6379/0 or unix:///run/valkey.sock?db=0"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of one Redis or Valkey server. `str` shows it without credentials."""

    host: str
    port: int
    socket_path: str
    db: int
    username: str
    password_file: Path | None

    @classmethod
    def parse(cls, url: str, username: str = "", password_file: Path | None = None) -> "Endpoint":
        """Read a `redis://` or `unix://` URL. Raises BadInput.

        Passwords do not belong in a URL: it is shown in logs and process lists. They come from
        `password_file`, read again at every connect.
        """
        field = "redis.url"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise BadInput(field, f"not a URL, {GOOD_URL}") from None
        if parts.password is not None or parts.username is not None:
            raise BadInput(
                field, "holds a user or a password; use redis.username and password_file"
            )
        if parts.scheme == "unix":
            if not parts.path or parts.netloc:
                raise BadInput(field, f"a socket needs an absolute path, {GOOD_URL}")
            db = _database(parts.query.removeprefix("db=") or "0")
            return cls("", 0, unquote(parts.path), db, username, password_file)
        if parts.scheme != "redis" or not parts.hostname or parts.query:
            raise BadInput(field, f"not a redis:// or unix:// URL, {GOOD_URL}")
        db = _database(parts.path.strip("/") or "0")
        return cls(parts.hostname, port or 6379, "", db, username, password_file)

    def __str__(self) -> str:
        if self.socket_path:
            return f"unix://{self.socket_path}?db={self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis://{host}:{self.port}/{self.db}"

    async def open(self, protocol: Callable[[], Link]) -> Link:
        """Connect. Raises OSError."""
        loop = asyncio.get_running_loop()
        if self.socket_path:
            return (await loop.create_unix_connection(protocol, self.socket_path))[1]
        return (await loop.create_connection(protocol, self.host, self.port))[1]

    async def greet(self, link: Link, name: str) -> dict[str, Any]:
        """Switch to RESP3, authenticate, choose the database; returns what HELLO answered."""
        password = self._password()
        login = ("AUTH", self.username or "default", password) if password else ()
        hello = await link.call("HELLO", "3", *login, "SETNAME", name)
        if self.db:
            await link.call("SELECT", str(self.db))
        if not isinstance(hello, dict):
            raise Unavailable(f"{self} does not speak RESP3; Redis 7 or Valkey is needed")
        return hello

    def client(self, timeout: float = 5.0) -> redis.asyncio.Redis:
        """A redis-py client for administration: nothing is ever sent twice, no call hangs."""
        where: dict[str, Any] = (
            {"unix_socket_path": self.socket_path}
            if self.socket_path
            else {"host": self.host, "port": self.port}
        )
        return redis.asyncio.Redis(
            **where,
            db=self.db,
            username=self.username or None,
            password=self._password() or None,
            protocol=3,
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            client_name="authz-cli",
        )

    def _password(self) -> str:
        if self.password_file is None:
            return ""
        try:
            return self.password_file.read_text().strip()
        except OSError as cause:
            raise Unavailable(
                f"redis.password_file: {cause.strerror}: {self.password_file}"
            ) from None


def _database(text: str) -> int:
    if not text.isdecimal():
        raise BadInput("redis.url", f"the database is a number, {GOOD_URL}")
    return int(text)
