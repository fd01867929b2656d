"""Dynamic metadata for usage records: which route, which secret, and how many units.

Envoy writes it into its access log, one blank between two fields. So no value here holds a blank,
and none is text of a client.
"""

from typing import Final

from authz.core.keys.credentials import Imported, Presented
from authz.core.records import KeyRecord
from authz.core.request import Request, Route
from authz.rpc.check.wire import STRING, field, metadata

MAX_ROUTES: Final = 1024


def only_secret(key: KeyRecord) -> str:
    """Return the id of the secret that every caller of this key must have used.

    Empty if several secrets have a digest, as after a rotation.
    """
    known = [secret.id for secret in key.secrets if secret.digest]
    return known[0] if len(known) == 1 else ""


class SecretParts:
    """For a key with several secrets, the metadata `secret_id` of each."""

    __slots__ = ("_parts",)

    def __init__(self, key: KeyRecord) -> None:
        self._parts = {
            secret.digest: metadata("secret_id", field(STRING, secret.id.encode()))
            for secret in key.secrets
            if secret.digest
        }

    @classmethod
    def of(cls, key: KeyRecord | None) -> "SecretParts | None":
        """Return the parts for a key. None for no key, or if its constant part names the secret."""
        return None if key is None or only_secret(key) else cls(key)

    def find(self, request: Request) -> bytes:
        """Return the metadata of the secret of a request whose secret is proven.

        Empty if it is none of these: the request may have been decided by an older record.
        """
        credential = request.credential
        if isinstance(credential, Presented):
            return self._parts.get(credential.digest(), b"")
        if isinstance(credential, Imported):
            for _, digest in credential.digests():
                if digest in self._parts:
                    return self._parts[digest]
        return b""


def secret_part(key: KeyRecord, request: Request) -> bytes:
    """Return the metadata of the secret of one request; empty if the constant part names it."""
    if len(key.secrets) == 1:  # nearly every key: nothing to compute in a flood
        return b""
    parts = SecretParts.of(key)
    return parts.find(request) if parts else b""


class RouteParts:
    """The metadata of routes: `route` is their label, `charged` the units of an allowed request.

    Routes are told apart by identity, because the extractor makes one object for all requests of a
    route. An object that is remembered is also kept alive, so its `id` is not given out again.
    """

    def __init__(self) -> None:
        self._kept: list[Route] = []
        self._charged: dict[int, bytes] = {}
        self.known = self._charged.get  # by the `id` of a route

    def charged(self, route: Route) -> bytes:
        """Return the metadata for an allow to a key. `charged` is what its limits pay, if any."""
        part = self.known(id(route))
        if part is None:
            if len(self._kept) >= MAX_ROUTES:
                self._charged.clear()
                self._kept.clear()
            part = self.label(route) + metadata("charged", field(STRING, b"%d" % route.cost))
            self._charged[id(route)] = part
            self._kept.append(route)
        return part

    @staticmethod
    def label(route: Route) -> bytes:
        """Return the metadata for a refusal or an anonymous allow. Empty without a label."""
        if not route.label:
            return b""
        return metadata("route", field(STRING, route.label.encode()))
