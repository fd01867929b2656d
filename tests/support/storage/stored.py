"""The names in a store without a namespace, and the commands that need rights there."""

from typing import Final

from authz.storage.permissions import permissions
from authz.storage.schema import DEFAULT

META: Final = DEFAULT.meta
SEQ: Final = DEFAULT.seq
LOG: Final = DEFAULT.log
CHANGES: Final = DEFAULT.changes
AUDIT: Final = DEFAULT.audit
KEYS: Final = DEFAULT.keys
SIDECARS: Final = DEFAULT.sidecars
HEARTBEAT: Final = DEFAULT.heartbeat
RESTORING: Final = DEFAULT.restoring
IMPORTED: Final = DEFAULT.imported
key: Final = DEFAULT.key
limit: Final = DEFAULT.limit
alias: Final = DEFAULT.alias
client: Final = DEFAULT.client
sidecar: Final = DEFAULT.sidecar

SERVING, COUNTING, BEATING, REGISTERING, INDEXING, CHANGING = permissions(DEFAULT)
