"""The `redis` section: the store and the way to it."""

from authz.settings.sections import Section
from authz.settings.values import (
    File,
    Line,
    Listen,
    Namespace,
    PartitionCount,
    ServiceName,
    Several,
    StoreUrl,
)


class RedisTls(Section):
    """TLS to the store, for a `rediss://` URL. Each file is read at every connect."""

    ca: File | None = None
    cert: File | None = None
    key: File | None = None

    def check_together(self) -> None:
        """Raise ValueError if only one of `cert` and `key` is set."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together")


class RedisSentinel(Section):
    """The Sentinels that know the primary. The sidecar does not log in to them.

    service: the name under which they know the primary.
    """

    hosts: Several[Listen]
    service: ServiceName


class Redis(Section):
    """The store. namespace: begins every name in the store, for installations that share it.

    cluster: the store is a cluster, of which `url` names one or more nodes. partitions: into how
    many parts the data is divided, see core/partitions.py; None: as the store says. `count` is the
    number in use.
    """

    url: StoreUrl = "redis://127.0.0.1:6379/0"
    cluster: bool = False
    partitions: PartitionCount | None = None
    namespace: Namespace = ""
    username: Line = ""
    password_file: File | None = None
    tls: RedisTls | None = None
    sentinel: RedisSentinel | None = None

    @property
    def count(self) -> int:
        """The number of partitions: 1 if it is not set, and was not read from the store."""
        return self.partitions or 1
