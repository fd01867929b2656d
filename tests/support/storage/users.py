"""Store users with the rights of a sidecar."""

from tests.support.storage import stored

# Exactly the commands that the feed and the lookups need.
PERMISSIONS = [
    *("hello", "select", "subscribe", "ping", "role", "time", "get", "hgetall", "exists", "xrange")
]


def restrict(valkey, *, without="", also=(), channel=True):
    """Create the user `sidecar` with its permissions except `without`, and with `also`."""
    allowed = [f"+{name}" for name in [*PERMISSIONS, *also] if name != without]
    channels = [f"&{stored.CHANGES}"] if channel else []
    rules = ["reset", "on", ">secret", "%R~authz:*", *channels, "-@all", *allowed]
    valkey.admin.execute_command("ACL", "SETUSER", "sidecar", *rules)
    return valkey.login("sidecar", "secret")
