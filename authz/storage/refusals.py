"""Refusals of the store: its error replies as text for an operator, with cause and remedy."""

from typing import Final

LONGEST: Final = 300
LOGIN_MISSING: Final = (
    "it wants a password, and redis.password_file is not set or is empty (NOAUTH)"
)
LOGIN_REFUSED: Final = (
    "it knows no such user and password (WRONGPASS); check redis.username and redis.password_file"
)
RIGHT_MISSING: Final = "(NOPERM); give the user the rights in deploy/redis/users.acl"
NO_DISK: Final = "MISCONF "
OTHER_REPLIES: Final = "; is another service, or a proxy that changes replies, at redis.url?"
RENAMED: Final = "; remove its rename-command, or use a store that has it"
READ_ONLY: Final = "it is a replica (READONLY); point redis.url at the primary"

# What each error reply contains, and its text. redis-py cuts the code off some of them.
_NO_DISK: Final = (
    "it takes no changes, because it cannot write to its disk (MISCONF); make room there, and look "
    "at its log"
)
_NO_REPLICAS: Final = (
    "it takes no changes, because too few replicas keep up with it (NOREPLICAS); see to them"
)
_TOO_MANY_CLIENTS: Final = (
    "it has its max number of clients; raise its maxclients, or end some that CLIENT LIST shows"
)
IS_MOVING: Final = "it is moving to more partitions; try again in a few seconds"
_BUSY: Final = (
    "a script keeps it busy (BUSY); end it with SCRIPT KILL or FUNCTION KILL, and find out who "
    "runs it"
)
_ORPHAN: Final = (
    "it is a replica that lost its primary (MASTERDOWN); point redis.url at the primary"
)
_PROTECTED: Final = (
    "it takes connections of its own machine only (protected mode); give it the users in "
    "deploy/redis/users.acl"
)
_OLD_PROTOCOL: Final = (
    "it, or a proxy in front of it, has no HELLO 3 (RESP3); connect to Redis 7 or Valkey itself"
)
_OTHER_SERVICE: Final = (
    "it does not speak the protocol of Redis; is another service on that port, or TLS, which "
    "needs rediss:// in redis.url?"
)
_NO_COMMAND: Final = f"it lacks a command that our scripts call{RENAMED}"
_WORDS: Final = (
    ("Unknown command called from script", _NO_COMMAND),
    ("Unknown Redis command called from script", _NO_COMMAND),
    (".acl_check_cmd()", _NO_COMMAND),
    ("in protected mode", _PROTECTED),
    ("unknown command 'HELLO'", _OLD_PROTOCOL),
    ("unsupported protocol version", _OLD_PROTOCOL),
    ("Protocol error, got ", _OTHER_SERVICE),
    (NO_DISK, _NO_DISK),
    ("Not enough good replicas", _NO_REPLICAS),
    ("max number of clients", _TOO_MANY_CLIENTS),
    ("BUSY ", _BUSY),
    ("loading the dataset", "it is still loading its data (LOADING); wait until it is done"),
    ("against a read only replica", READ_ONLY),
    ("MASTERDOWN ", _ORPHAN),
    (":seq is a list, not a string", IS_MOVING),
    ("Link with MASTER is down", _ORPHAN),
)
_TEXTS: Final = frozenset(text for _, text in _WORDS) | {LOGIN_MISSING, LOGIN_REFUSED}


def refusal(error: Exception) -> str:
    """Return an error reply as text for an operator: its cause and, if it is known, the remedy.

    An old store quotes the whole command, which may contain a password. That part is cut off, and
    so are the position in a script and what is behind LONGEST characters.
    """
    text = str(error).partition(", with args")[0][:LONGEST]
    before, _, place = text.rpartition(" script: ")
    text = before if "on @" in place else text
    if any(word in text for word in ("HELLO must be called", "NOAUTH", "uthentication required")):
        return LOGIN_MISSING
    if any(word in text for word in ("WRONGPASS", "invalid username-password")):
        return LOGIN_REFUSED
    if "o permissions " in text:
        return f"{text.removeprefix('NOPERM ').rstrip('.')} {RIGHT_MISSING}"
    known = next((found for word, found in _WORDS if word in text), "")
    if "unknown command" in text and not known:
        return f"{text.removeprefix('ERR ')}{RENAMED}"
    return known or text


def has_advice(why: str) -> bool:
    """Return whether a text of `refusal` tells the remedy."""
    return why in _TEXTS or why.endswith((RIGHT_MISSING, RENAMED, OTHER_REPLIES))


def is_without_disk(reply: object) -> bool:
    """Return whether an error reply says that the store takes no changes for want of its disk.

    Then it still answers reads, and in order. It refuses PING as well.
    """
    return isinstance(reply, Exception) and NO_DISK in str(reply)
