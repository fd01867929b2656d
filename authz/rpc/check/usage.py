"""Dynamic metadata for usage records: which route, which secret, and how many units.

Envoy writes it into its access log, one blank between two fields. So no value here holds a blank,
and none is text of a client.
"""

from typing import Final

from authz.core.keys.credentials import Imported, Presented
from authz.core.limits.amounts import units_of
from authz.core.records import KeyRecord
from authz.core.request import Request, Route
from authz.rpc.check.wire import STRING, field, metadata

MAX_ROUTES: Final = 1024


def only_secret(key: KeyRecord) -> str:
    """Return the id of the secret that every caller of this key must have used.

    Empty if several secrets have a digest, as after a rotation, or if none has one.
    """
    known = [secret.id for secret in key.secrets if secret.digest]
    return known[0] if len(known) == 1 else ""


class SecretParts:
    """The serialised metadata `secret_id` of each secret of a key that has a digest."""

    __slots__ = ("_by_id", "_parts")

    def __init__(self, key: KeyRecord) -> None:
        self._parts = {
            secret.digest: metadata("secret_id", field(STRING, secret.id.encode()))
            for secret in key.secrets
            if secret.digest
        }
        self._by_id = {
            secret.id: self._parts[secret.digest] for secret in key.secrets if secret.digest
        }

    @classmethod
    def of(cls, key: KeyRecord | None) -> "SecretParts | None":
        """Return the parts for a key. None without a key, or if `only_secret` names its secret."""
        return None if key is None or only_secret(key) else cls(key)

    def find(self, request: Request) -> bytes:
        """Return the serialised metadata of the secret that a request used. It must be proven.

        Empty if this key has no such secret: the request may have been decided by an older record.
        """
        credential = request.credential
        if isinstance(credential, Presented):
            return self._parts.get(credential.digest(), b"")
        if isinstance(credential, Imported):
            for _, digest in credential.digests():
                if digest in self._parts:
                    return self._parts[digest]
        if request.token is not None:
            return self._by_id.get(request.token.secret_id, b"")
        return b""


def secret_part(key: KeyRecord, request: Request) -> bytes:
    """Return the serialised metadata of the secret that one request used.

    Empty if the key has only one secret with a digest: the constant part names it. Also empty if
    the key has no such secret.
    """
    if len(key.secrets) == 1:  # nearly every key: nothing to compute in a flood
        return b""
    parts = SecretParts.of(key)
    return parts.find(request) if parts else b""


class RouteParts:
    """The metadata of routes: `route` is their label, `charged` their cost in units.

    Routes are told apart by identity, because the extractor makes one object for all requests of a
    route. An object that is remembered is also kept alive, so its `id` is not given out again.
    known: returns the remembered result of `charged` for the `id` of a route, or None.
    """

    def __init__(self) -> None:
        self._kept: list[Route] = []
        self._charged: dict[int, bytes] = {}
        self.known = self._charged.get  # by the `id` of a route

    def charged(self, route: Route) -> bytes:
        """Return the serialised metadata `route` and `charged` for an allow to a key.

        `route` is left out without a label. A route whose real use is known after the response also
        has `model` and `settle`, the terms of the settlement. Remembers the result of up to
        MAX_ROUTES (1024) routes.
        """
        part = self.known(id(route))
        if part is None:
            if len(self._kept) >= MAX_ROUTES:
                self._charged.clear()
                self._kept.clear()
            part = self._part(route, units_of(route.cost))
            self._charged[id(route)] = part
            self._kept.append(route)
        return part

    def repeated(self, route: Route) -> bytes:
        """Return the same for a request that was charged before: it costs 0 units."""
        return self._part(route, 0)

    def _part(self, route: Route, units: int) -> bytes:
        part = self.label(route) + _text("charged", str(units))
        if route.terms:
            part += _text("settle", route.terms)
        if route.priced_as:
            part += _text("model", route.priced_as)
        return part

    @staticmethod
    def label(route: Route) -> bytes:
        """Return the serialised metadata `route` alone. Empty if the route has no label."""
        if not route.label:
            return b""
        return _text("route", route.label)


def _text(name: str, value: str) -> bytes:
    return metadata(name, field(STRING, value.encode()))
