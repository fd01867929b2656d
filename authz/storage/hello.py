"""Checks of the reply to HELLO: the server is new enough, and of the kind of the settings."""

from collections.abc import Mapping
from typing import Any, Final

from authz.core.errors import Unavailable
from authz.storage.schema import Names

OLDEST_MAJOR: Final = 7
OLD_MAJORS: Final = frozenset(map(str, range(OLDEST_MAJOR)))
NO_RESP3: Final = "the store does not speak RESP3; Redis 7 or Valkey is needed"
NO_CLUSTER: Final = "the store is no cluster; remove redis.cluster"
IS_CLUSTER: Final = "the store is a cluster; set redis.cluster: true"


def refuse_old(hello: Mapping[str, Any]) -> None:
    """Raise Unavailable if the reply to HELLO is from a server older than Redis 7.

    A reply without a readable version is accepted.
    """
    found = hello.get("version")
    if isinstance(found, str) and found.partition(".")[0] in OLD_MAJORS:
        server = hello.get("server", "server")
        raise Unavailable(f"the store is {server} {found}; Redis 7 or Valkey is needed")


def refuse_mode(hello: Mapping[str, Any], names: Names) -> None:
    """Raise Unavailable if the reply to HELLO is of a cluster and `names` are not, or the reverse.

    A reply without a mode is accepted.
    """
    mode = hello.get("mode")
    if mode and (mode == "cluster") is not names.is_clustered:
        raise Unavailable(NO_CLUSTER if names.is_clustered else IS_CLUSTER)
