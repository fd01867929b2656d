"""Changes, stores on which a change fails, and functions that read what was written."""

import contextlib

from authz.core import changes, new_keys
from authz.core.changes import Author
from authz.core.new_keys import KeySpec
from authz.core.records import RevocationReason
from authz.storage.change_script import APPLY_CHANGE
from authz.storage.keys import StoredKeys
from tests.support.fakes import KID, NOW, make_keyring
from tests.support.storage import stored

OTHER_KID = "0" * 16
NEWEST, OLDER = b"n" * 32, b"o" * 32  # digests of an imported key
ALIAS = stored.alias(NEWEST)
CLIENT = "acme-web"
KEYS = [
    stored.key(KID),
    stored.SEQ,
    stored.LOG,
    stored.AUDIT,
    stored.KEYS,
    stored.client(CLIENT),
]
WRITES = ["SET", "XADD log", "HSET", "ZADD keys", "ZADD client", "XADD audit", "PUBLISH"]
# What the script needs of a store, and what else a change takes.
READS = ["type", "exists", "hmget", "get", "xinfo", "time", "xrange"]
DONE = ["set", "xadd", "hset", "zadd", "publish"]
BESIDES = ["hello", "client|setname", "ping", "evalsha", "script|load", "hgetall", "sismember"]
# Before the script: the n-th command that writes fails.
FAILING = """
local real, left = redis, {nth}
local writes = {{SET = true, XADD = true, HSET = true, ZADD = true, ZREM = true, PUBLISH = true}}
local redis = setmetatable({{}}, {{__index = real}})
redis.call = function(name, ...)
  if writes[name] then
    left = left - 1
    if left == 0 then error('injected into ' .. name) end
  end
  return real.call(name, ...)
end
"""


def issued(change_id="c-issue", kid=KID):
    """Return a change that issues a key."""
    spec = KeySpec(client_id=CLIENT, env="live", life_ms=None, scopes=frozenset({"a:b"}))
    minted = make_keyring().mint("live", kid)
    return new_keys.issue(spec, minted, Author(change_id, "ops", "a note"), NOW)


def imported(change_id="c-import", kid=KID, digests=(NEWEST, OLDER)):
    """Return a change that imports a key with `digests`, newest first."""
    spec = KeySpec(client_id=CLIENT, env="live", life_ms=None)
    known = [("1", digest) for digest in digests]
    return new_keys.import_key(spec, kid, known, Author(change_id, "ops", "a note"), NOW)


async def revoked(store, change_id="c-revoke", kid=KID):
    """Return a change that revokes a key."""
    record = await store.find(kid)
    reason = RevocationReason.KEY_COMPROMISE
    return changes.revoke(record, reason, Author(change_id, "ops"), NOW + 1)


def moved(record, to="acme-batch", change_id="c-move"):
    """Return a change that gives a key to another client."""
    return changes.update(record, {"client_id": to}, Author(change_id, "ops"), NOW + 1)


def everything(valkey):
    """Return the whole content of the store."""
    names = sorted(valkey.admin.keys("authz:*"))
    return {name: valkey.admin.dump(name) for name in names}


def audited(valkey, change_id):
    """Return the audit entries of a change by id."""
    entries = valkey.admin.xrange(stored.AUDIT)
    return [entry_id for entry_id, entry in entries if entry["change_id"] == change_id]


@contextlib.asynccontextmanager
async def failing(valkey, nth):
    """Yield a store on which the n-th write of the script fails."""
    async with valkey.endpoint.client() as client:
        yield StoredKeys(client, script=FAILING.format(nth=nth) + APPLY_CHANGE)


@contextlib.asynccontextmanager
async def permitted(valkey, *rules):
    """Yield a store for a user with the rights that the script needs, restricted by `rules`."""
    commands = [f"+{name}" for name in [*READS, *DONE, *BESIDES]]
    valkey.admin.execute_command(
        "ACL", "SETUSER", "ops", "reset", "on", ">pw", "~authz:*", f"&{stored.CHANGES}", "-@all",
        *commands, *rules,
    )  # fmt: skip
    async with valkey.login("ops", "pw").client() as client:
        yield StoredKeys(client)
