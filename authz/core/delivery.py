"""Delivery of a new secret to its holder: the parcel, and the form that each receiver expects."""

import base64
import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

from authz.core.errors import BadInput, Fault
from authz.core.records import KeyRecord
from authz.core.times import rfc3339

NAMES: Final = ("kid", "client", "project", "tenant")
PATCH_TYPE: Final = "application/apply-patch+yaml"  # JSON is YAML, too
_VARIABLE: Final = re.compile(r"\{([a-z]{1,16})\}", re.ASCII)
# RFC 1123, as Kubernetes wants it:
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_ENTRY: Final = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)
_MAX_NAME: Final = 253


class Undelivered(Fault):
    """The receiver refused the secret, so it does not have it. The same again would not help."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A new secret and the key that it belongs to. secret: its number. made_at: in ms."""

    kid: str
    secret: str
    made_at: int
    client: str
    project: str
    tenant: str
    text: str = field(repr=False)

    @classmethod
    def of(cls, record: KeyRecord, text: str) -> "Parcel":
        """Return the parcel with the text of the newest secret of a key."""
        newest = record.newest_secret
        ids = (record.client_id, record.project_id, record.tenant_id)
        return cls(record.kid, newest.id, newest.created_at, *ids, text)

    @property
    def delivery_id(self) -> str:
        """The id of the delivery, the same at every try."""
        return f"{self.kid}-{self.secret}"

    def filled(self, template: str, *, is_path: bool = False) -> str:
        """Return a template with the ids of the key in place of `{kid}`, `{client}` and so on.

        is_path: a slash within an id is written %2F, so that an id is one segment of a path. Raises
        Undelivered if the key lacks an id that the template names. Also if an id has the text that
        stands between it and the next one: client c of tenant a-b could get the name of client b-c
        of tenant a. A name with `{kid}` is that of one key.
        """
        ids = dict(zip(NAMES, (self.kid, self.client, self.project, self.tenant), strict=True))

        def value(match: re.Match[str]) -> str:
            found = ids[match[1]]
            if not found or found in {".", ".."}:
                raise Undelivered(f"the key has no {match[1]} that fits into {template}")
            text = quote(found, safe="") if is_path else found
            between, *more = _VARIABLE.split(template[match.end() :], maxsplit=1)
            if more and "{kid}" not in template and f"{text}{between}".find(between) < len(text):
                raise Undelivered(f"two tenants could share {template}: {found[:80]} has {between}")
            return text

        return _VARIABLE.sub(value, template)


class Arrival(StrEnum):
    """The state of a delivery."""

    DELIVERED = "delivered"
    UNDONE = "undone"  # the target refused it, and the rotation was rolled back
    PENDING = "pending"  # unknown; `authz admin` tries again


@dataclass(frozen=True, slots=True)
class SecretDelivery:
    """The result of a rotation with a delivery. why: it did not arrive; empty if it did.

    is_undecided: it was unknown for 24 hours whether it arrived.
    """

    record: KeyRecord
    arrival: Arrival
    why: str = ""
    is_undecided: bool = False


def check_template(text: str) -> str:
    """Return a template unchanged.

    Raises BadInput if it names a variable that no key has, or has nothing between two of them.
    """
    rest = _VARIABLE.sub("", text)
    is_known = all(name in NAMES for name in _VARIABLE.findall(text)) and "}{" not in text
    if not (is_known and 0 < len(text) <= _MAX_NAME and text.isprintable()) or set("{}") & {*rest}:
        known = ", ".join(f"{{{name}}}" for name in NAMES)
        raise BadInput("", f"a name such as authz-{{client}}, with any of {known}")
    return text


def kubernetes_path(parcel: Parcel, namespace: str, name: str) -> str:
    """Return path and query of a server-side apply of a Secret.

    Each key is a field manager of its own: an apply removes the entries of its manager that it does
    not name, and those of other keys must stay. `force` takes an entry over that was written by
    hand. Raises Undelivered if the filled name is none of Kubernetes.
    """
    filled = parcel.filled(name)
    if len(filled) > _MAX_NAME or not all(map(_LABEL.fullmatch, filled.split("."))):
        raise Undelivered(f"{filled[:80]} is no name of a Secret: small letters, digits, - and .")
    query = f"fieldManager=authz-{parcel.kid}&force=true"
    return f"/api/v1/namespaces/{namespace}/secrets/{filled}?{query}"


def kubernetes_body(parcel: Parcel, name: str, entry: str) -> bytes:
    """Return the body of that apply, with one entry. Raises Undelivered for a wrong name of it."""
    filled = parcel.filled(entry)
    if not _ENTRY.fullmatch(filled):
        raise Undelivered(f"{filled[:80]} is no name in a Secret: letters, digits, -, _ and .")
    encoded = base64.b64encode(parcel.text.encode()).decode()
    metadata = {"name": parcel.filled(name)}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {filled: encoded}}
    return _json(secret)


def confirms_secret(answer: bytes, parcel: Parcel, name: str) -> bool:
    """Return whether the answer to that apply is the Secret, not the page of a proxy in between."""
    found = _object(answer)
    about = found.get("metadata")
    named = isinstance(about, dict) and about.get("name") == parcel.filled(name)
    return found.get("kind") == "Secret" and named


def vault_path(parcel: Parcel, mount: str, path: str) -> str:
    """Return the path of a write to the key-value store, version 2.

    Source: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2. Raises Undelivered if
    the key lacks an id that `path` names.
    """
    return f"/v1/{quote(mount)}/data/{parcel.filled(quote(path, safe='/{}'), is_path=True)}"


def vault_body(parcel: Parcel) -> bytes:
    """Return the body of that write. It makes a new version of the secret with these entries."""
    return _json({"data": {"api_key": parcel.text, "kid": parcel.kid, "secret": parcel.secret}})


def confirms_version(answer: bytes) -> bool:
    """Return whether the answer to that write names the new version.

    That of a store of version 1, of a request that waits for an approval, or of a proxy in between
    does not: then no holder finds the secret at its path.
    """
    data = _object(answer).get("data")
    version = data.get("version") if isinstance(data, dict) else None
    return isinstance(version, int) and version > 0


def webhook_body(parcel: Parcel) -> bytes:
    """Return the body of a signed webhook, in the form of Standard Webhooks."""
    data = {
        "kid": parcel.kid,
        "secret": parcel.secret,
        "client": parcel.client,
        **({"project": parcel.project} if parcel.project else {}),
        **({"tenant": parcel.tenant} if parcel.tenant else {}),
        "api_key": parcel.text,
    }
    made_at = rfc3339(parcel.made_at)
    return _json({"type": "authz.secret.delivery", "timestamp": made_at, "data": data})


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
