"""Endpoint: the address of the store, and how to connect and log in to it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import redis.asyncio
from redis.asyncio import Connection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection

from authz.core.errors import BadInput, Unavailable
from authz.core.fields import shown
from authz.core.listen_address import Address
from authz.storage.clients import client_options, new_client
from authz.storage.credentials import Credentials, explained, read_password
from authz.storage.hello import NO_RESP3, refuse_mode, refuse_old
from authz.storage.link import Link
from authz.storage.marks import Marks
from authz.storage.schema import Names
from authz.storage.seals import StoreSeals
from authz.storage.store_url import CLUSTER_FIELD, parse_url

if TYPE_CHECKING:  # most stores are reached without them
    from authz.storage.cluster import Cluster
    from authz.storage.cluster_link import SlotFault
    from authz.storage.sentinel import Sentinel
    from authz.storage.tls import TlsFiles


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address of a Redis or Valkey server, or the Sentinels or cluster nodes that know it.

    `str` shows the address without credentials, and the partition if there are several. namespace:
    prefix of all names in the store, or "". partition: the number of the one whose names and whose
    node this is. count: of partitions.
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
    cluster: "Cluster | None" = None
    namespace: str = ""
    marks: Marks | None = field(default=None, repr=False, compare=False)
    seals: Callable[[], StoreSeals] | None = field(default=None, repr=False, compare=False)
    sidecars: int = field(default=0, compare=False)
    partition: int = 0
    count: int = 1

    @classmethod
    def parse(
        cls,
        url: str,
        username: str = "",
        password_file: Path | None = None,
        *,
        tls: "TlsFiles | None" = None,
        sentinel: "Sentinel | None" = None,
        is_cluster: bool = False,
        namespace: str = "",
        partitions: int = 1,
    ) -> "Endpoint":
        """Parse `redis.url`, as `store_url.parse_url` does.

        Raises BadInput if a part is invalid. The password comes from `password_file`, read at every
        connect. With `sentinel`, only scheme and database of the URL are used, and `unix://` is
        refused. `tls` is refused without `rediss://`. namespace: prefix of all names in the store.
        partitions: how many there are; the endpoint is that of partition 0.
        """
        found = parse_url(url, is_cluster=is_cluster)
        if found.is_tls:
            from authz.storage.tls import TlsFiles  # noqa: PLC0415

            tls = tls or TlsFiles()
        elif tls is not None:
            raise BadInput("redis.tls", "is for a rediss:// URL; redis.url has none")
        if sentinel is not None and found.socket_path:
            raise BadInput("redis.sentinel", "names an address; redis.url has to be one, too")
        if sentinel is not None and not all(asked.port for asked in sentinel.hosts):
            raise BadInput("redis.sentinel.hosts", "host:port each, such as 10.0.0.1:26379")
        where = (found.hosts[0].host, found.hosts[0].port) if found.hosts else ("", 0)
        cluster = None
        if found.is_cluster:
            if sentinel is not None:
                raise BadInput(CLUSTER_FIELD, "needs no Sentinel; remove redis.sentinel")
            from authz.storage.cluster import Cluster, slot_of  # noqa: PLC0415

            names = Names(namespace, is_clustered=True, partitions=partitions)
            cluster = Cluster(found.hosts, slot_of(names.meta))
        login = (username, password_file)
        about = (*where, found.socket_path, found.db, *login, tls, sentinel, cluster, namespace)
        return cls(*about, count=partitions)

    def partitions(self) -> "tuple[Endpoint, ...]":
        """Return the endpoint of each partition, in order; with one partition this one alone."""
        return tuple(self._of(number, self.count) for number in range(self.count))

    def undivided(self) -> "Endpoint":
        """Return the endpoint of the same store as one with a single partition."""
        return self._of(0, 1)

    def _of(self, partition: int, count: int) -> "Endpoint":
        if (partition, count) == (self.partition, self.count):
            return self
        cluster, found = self.cluster, replace(self, partition=partition, count=count)
        if cluster is None:
            return found
        from authz.storage.cluster import slot_of  # noqa: PLC0415

        return replace(found, cluster=cluster.of_slot(slot_of(found.names.meta)))

    def __str__(self) -> str:
        namespace = f", namespace {self.namespace}" if self.namespace else ""
        partition = f", partition {self.partition}" if self.count > 1 else ""
        return f"{self.address}{namespace}{partition}"

    @property
    def address(self) -> str:
        """The address of the store, without credentials. It is the same for all partitions."""
        if self.socket_path:
            return f"unix://{self.socket_path}?db={self.db}"
        if self.sentinel:
            return str(self.sentinel)
        scheme = "rediss" if self.tls else "redis"
        if self.cluster:
            return f"{scheme}+cluster://{self.cluster}"
        return f"{scheme}://{Address(self.host, self.port)}/{self.db}"

    @property
    def names(self) -> Names:
        """The names of the partition's data in the store, for this namespace and database."""
        return Names(
            self.namespace,
            self.db,
            is_clustered=self.cluster is not None,
            partition=self.partition,
            partitions=self.count,
        )

    @property
    def has_replicas(self) -> bool:
        """True if Sentinel or a cluster names the primary.

        Then the feed requires proof that a replica follows it.
        """
        return self.sentinel is not None or self.cluster is not None

    def link(
        self,
        on_push: Callable[[list[Any]], None],
        on_lost: Callable[[], None],
        on_refused: "Callable[[SlotFault], None] | None" = None,
    ) -> Link:
        """Return a link for `open`. on_refused: see ClusterLink; it is for clusters alone."""
        if self.cluster is None:
            return Link(on_push, on_lost)
        from authz.storage.cluster_link import ClusterLink  # noqa: PLC0415

        return ClusterLink(on_push, on_lost, on_refused, self.cluster.note_move)

    async def open(self, protocol: Callable[[], Link]) -> Link:
        """Connect, with TLS if configured, and return the link. It is not logged in.

        `greet` does that. Raises OSError if the connection fails, Unavailable if no Sentinel names
        a primary, no node names the owner of our slot, or a TLS file is unusable. It has no timeout
        of its own.
        """
        loop = asyncio.get_running_loop()
        if self.socket_path:
            return (await loop.create_unix_connection(protocol, self.socket_path))[1]
        host, port = self.host, self.port
        if self.sentinel:
            host, port = await self.sentinel.primary(self._dial)
        elif self.cluster:
            owner = await self.cluster.owner(self._slots)
            host, port = owner.host, owner.port
        return await self._reach(protocol, host, port)

    async def _reach(self, protocol: Callable[[], Link], host: str, port: int) -> Link:
        loop, security = asyncio.get_running_loop(), self.tls.context() if self.tls else None
        try:
            link = (await loop.create_connection(protocol, host, port, ssl=security))[1]
        except OSError:  # also a certificate that is refused, which is a ValueError, too
            raise
        except (ValueError, OverflowError):  # of Python, for an address that a node gave
            where = shown(str(Address(host, port)))
            raise Unavailable(f"nobody can connect to {where}") from None
        link.address = Address(host, port)
        return link

    async def is_owned_elsewhere(self, link: Link) -> bool:
        """Return whether two nodes of the cluster name another owner of our slot than this link's.

        False without a cluster. It raises nothing, and takes at most some tenths of a second.
        """
        owner = await self.cluster.agreed(self._slots) if self.cluster else None
        return owner is not None and owner != link.address

    async def _slots(self, node: Address) -> Any:
        """Return the reply of a node of the cluster to CLUSTER SLOTS. Raises Unavailable."""
        link = await self._reach(lambda: Link(_ignore, _ignore), node.host, node.port)
        try:
            await self.greet(link, "authz-cluster")
            return await link.call("CLUSTER", "SLOTS")
        finally:
            link.abort()

    async def greet(self, link: Link, name: str) -> dict[str, Any]:
        """Switch to RESP3, log in, name the connection, select the database.

        Return the reply to HELLO. Raises Unavailable if the login is refused, the password file is
        unreadable, the server does not speak RESP3 or is older than Redis 7, or the link fails;
        also if the server is a node of a cluster and the settings name none, or the reverse.
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
        refuse_mode(hello, self.names)
        if self.db:
            await link.call("SELECT", str(self.db))
        return hello

    def client(self, timeout: float = 5.0) -> redis.asyncio.Redis:
        """Return a redis-py client for administration. It connects at its first command.

        timeout: seconds for each connect and each reply. No command that may have been carried out
        is repeated. Raises Unavailable if a TLS file or the password file is unusable.
        """
        client: redis.asyncio.Redis = self._client(timeout)
        cast("Any", client).names = self.names  # see schema.names_of
        cast("Any", client).marks = self.marks  # see marks.marks_of
        cast("Any", client).sidecars = self.sidecars  # see registry.expected_of
        cast("Any", client).seals = self.seals and self.seals()  # see seals.seals_of
        return client

    def _client(self, timeout: float) -> Any:
        login = {
            "db": self.db,
            "credential_provider": Credentials(self.login) if self.login() else None,
        }
        if self.sentinel:
            options = client_options(SentinelManagedConnection, self.tls, timeout)
            return self.sentinel.client(self._dial, options | login)
        if self.socket_path:
            options = client_options(UnixDomainSocketConnection, self.tls, timeout)
            return new_client(path=self.socket_path, **options, **login)
        options = client_options(Connection, self.tls, timeout)
        if self.cluster:
            from authz.storage.cluster_client import client_of  # noqa: PLC0415

            find, kind = partial(self.cluster.owner, self._slots), options["connection_class"]
            return client_of(kind, self.cluster, find, options | login)
        return new_client(host=self.host, port=self.port, **options, **login)

    def _dial(self, host: str, port: int, timeout: float) -> redis.asyncio.Redis:
        """Return a client for one Sentinel, without a login. timeout: as of `client`."""
        return new_client(host=host, port=port, **client_options(Connection, self.tls, timeout))

    def login(self) -> tuple[str, str] | None:
        """Return user and password, or None if neither a user nor a password is set.

        The user is `default` if only a password is set; the password is "" if only a user is set.
        Reads `password_file` at each call. Raises Unavailable if it is unreadable.
        """
        password = read_password(self.password_file)
        return (self.username or "default", password) if password or self.username else None

    def explained(self, text: str) -> str:
        """Return a message in which a refused login names the setting that is missing or empty."""
        return explained(text, self.password_file)


Client = redis.asyncio.Redis
"""A client of redis-py, as `Endpoint.client` returns it."""


def _ignore(*_any: Any) -> None:
    pass
