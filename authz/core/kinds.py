"""The kinds of keys: secret, publishable and canary."""

from enum import StrEnum

from authz.core.records import PUBLIC_ENV, KeyRecord, Status


class Kind(StrEnum):
    """The kind of a key. A revoked canary key is a secret or a publishable one."""

    SECRET = "secret"  # noqa: S105  a word
    PUBLISHABLE = "publishable"
    CANARY = "canary"


def kind_of(record: KeyRecord) -> Kind:
    """Return the kind of a key."""
    return _kind(record.status.value, public=record.public)


def stored_kind(env: str, status: str) -> Kind:
    """Return the kind of a key with these fields of its stored record."""
    return _kind(status, public=env.startswith(PUBLIC_ENV))


def _kind(status: str, *, public: bool) -> Kind:
    if status == Status.CANARY:
        return Kind.CANARY
    return Kind.PUBLISHABLE if public else Kind.SECRET
