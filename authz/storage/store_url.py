"""The address of the store, as `redis.url` writes it."""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from authz.core.errors import BadInput
from authz.core.listen_address import Address

FIELD: Final = "redis.url"
GOOD_URL: Final = "such as redis://127.0.0.1:6379/0 or unix:///run/valkey.sock?db=0"
CLUSTER_FIELD: Final = "redis.cluster"
_CLUSTER: Final = "+cluster"

# A host name or an IPv4 address, or an IPv6 address without its brackets.
_HOST: Final = re.compile(
    r"[a-z0-9_-]{1,63}(?:(?=\.[a-z0-9_-])\.[a-z0-9_-]{1,63})*+\.?|[0-9a-f.]*:[0-9a-z:.%]*", re.ASCII
)


class StoreUrl(NamedTuple):
    """The parts of a URL. hosts: one, or the seeds of a cluster; none with a socket_path.

    is_cluster: its scheme says that the store is a cluster, or the caller did.
    """

    hosts: tuple[Address, ...]
    socket_path: str
    db: int
    is_tls: bool
    is_cluster: bool


def parse_url(url: str, *, is_cluster: bool = False) -> StoreUrl:
    """Parse a `redis://`, `rediss://` (TLS) or `unix://` URL.

    `redis+cluster://` and `rediss+cluster://` name a cluster, and so does `redis://` with
    `is_cluster`. It has one or more seeds with a comma between them, and database 0. Without a port
    it is 6379, without a database 0. Raises BadInput if a part is invalid. A user or password is
    refused and not shown.
    """
    try:
        parts = urlsplit(url)
        named = "@" in parts.netloc
        hosts = [_host(part) for part in parts.netloc.split(",")]
    except ValueError:
        raise BadInput(FIELD, f"not a URL, {GOOD_URL}") from None
    if named:
        raise BadInput(
            FIELD,
            f"holds a user or a password, which belong in redis.username and "
            f"redis.password_file; {GOOD_URL}",
        )
    scheme = parts.scheme.removesuffix(_CLUSTER)
    clustered = is_cluster or scheme != parts.scheme
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        if is_cluster:
            raise BadInput(CLUSTER_FIELD, "needs the address of a node; redis.url is a socket")
        found = StoreUrl((), unquote(parts.path), _database("db=", parts.query), False, False)
    elif scheme in {"redis", "rediss"} and all(_HOST.fullmatch(one.host) for one in hosts):
        db = _database("/", parts.path.rstrip("/"))
        if len(hosts) > 1 and not clustered:
            raise BadInput(FIELD, f"has several addresses; a cluster needs {CLUSTER_FIELD}: true")
        if clustered and db:
            raise BadInput(FIELD, "names a database; a cluster has only database 0")
        found = StoreUrl(tuple(hosts), "", db, scheme == "rediss", clustered)
    else:
        raise BadInput(FIELD, f"not a redis:// or unix:// URL, {GOOD_URL}")
    if parts.fragment or (parts.query and parts.scheme != "unix"):
        raise BadInput(FIELD, f"has something behind the database, {GOOD_URL}")
    return found


def _host(text: str) -> Address:
    """Return host and port; the host is "" if the port is 0. Raises ValueError for a bad port."""
    parts = urlsplit(f"//{text}")
    port = 6379 if parts.port is None else parts.port
    return Address(parts.hostname or "" if port else "", port)


def _database(start: str, text: str) -> int:
    match = re.fullmatch(rf"({start}(\d{{1,5}}))?", text, re.ASCII)
    if match is None:
        raise BadInput(FIELD, f"the database is a number, {GOOD_URL}")
    return int(match[2] or 0)
