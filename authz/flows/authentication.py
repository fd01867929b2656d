"""Authentication: identifies the callers of the administration API by exactly one credential."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from authz.core import policy
from authz.core.access import (
    API_HOST,
    Binding,
    Caller,
    Credentials,
    Kind,
    Refusal,
    RefusalKind,
    bindings_of_key,
    is_subject,
)
from authz.core.admin_ports import KeyStore
from authz.core.audit import Action
from authz.core.bearer_token import MAX_TOKEN, refused
from authz.core.decision import Reason
from authz.core.errors import Unavailable
from authz.core.keys.credentials import Alias, Presented, matches
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock, PepperProof
from authz.core.records import KeyRecord
from authz.core.request import NO_HEADERS, Request, Route
from authz.core.roles import OwnAction
from authz.core.sightings import Sightings

# RFC 6750 section 2.1. The credential is one word.
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([!-+\--~]+)", re.ASCII)
_CHALLENGE: Final = len("Bearer ")


class TokenIdentifier(Protocol):
    """Identifies callers by tokens of an identity provider."""

    async def identify(self, text: str) -> Caller | Refusal:
        """Return the caller, or the refusal of the token. MUST NOT raise for any text."""
        ...


@dataclass(frozen=True, slots=True)
class ProvedKey:
    """A key that was presented and proved. secret_id: of the secret that it has."""

    caller: Caller
    secret_id: str


class KeyIdentifier:
    """Identifies callers by keys of our own, read from the store for each request.

    A key with the scope of a role is an operator, within the key's own tenant and project. Any
    other key is a holder, if `own_actions` has any. An imported key is neither: nothing but a
    lookup would prove it. Limits of the key do not count here. A key with allowed hosts must allow
    API_HOST. A key that allows API_HOST only works nowhere else. sightings: collects uses of canary
    keys.
    """

    def __init__(
        self,
        store: KeyStore,
        keyring: Keyring,
        peppers: PepperProof,
        clock: Clock,
        own_actions: frozenset[OwnAction] = frozenset(),
        *,
        sightings: Sightings | None = None,
    ) -> None:
        self._store = store
        self._sightings = sightings or Sightings()
        self._keyring = keyring
        self._peppers = peppers
        self._clock = clock
        self._own_actions = own_actions

    def claims(self, text: str) -> bool:
        """Return whether the text begins like one of our keys."""
        return self._keyring.claims(text)

    async def identify(self, text: str, address: str) -> Caller | Refusal:
        """Return the caller, or the refusal of the key. address: of the client, for `--cidr`.

        A malformed or forged key is refused without the store. UNAVAILABLE if the store cannot be
        read, or if the tag is wrong and the pepper is not known to be the store's.
        """
        proved = await self.prove(text, address)
        return proved if isinstance(proved, Refusal) else proved.caller

    async def prove(self, text: str, address: str) -> ProvedKey | Refusal:
        """Return the caller and the secret that the key has, or the refusal as of `identify`."""
        presented = self._keyring.parse(text)
        if presented is None:
            return refused("key: malformed")
        flaw = presented.flaw()
        if flaw == "tag" and not self._peppers.refutes(presented.pepper_version):
            return Refusal(RefusalKind.UNAVAILABLE, "key: its pepper is missing here")
        if flaw is not None:
            return refused(f"key: wrong {flaw}")
        record = await self._found(presented.kid)
        if isinstance(record, Refusal):
            return record
        caller = self._judged(record, presented, address)
        if isinstance(caller, Refusal):
            return caller
        digest = presented.digest()
        secret = next(one for one in record.secrets if matches(digest, one.digest))
        return ProvedKey(caller, secret.id)

    async def resume(self, kid: str, secret_id: str, address: str) -> Caller | Refusal:
        """Return the caller that a key is now, if it was proved before; or the refusal.

        It is judged as if it were presented again: by its record, and by the secret of this id.
        UNAVAILABLE if the store cannot be read.
        """
        record = await self._found(kid)
        if isinstance(record, Refusal):
            return record
        secret = next((one for one in record.secrets if one.id == secret_id), None)
        if secret is None:
            return refused("key: its secret is gone")
        return self._judged(record, Alias(kid, secret.digest), address)

    async def _found(self, kid: str) -> KeyRecord | Refusal:
        try:
            record = await self._store.find(kid)
        except Unavailable:
            return Refusal(RefusalKind.UNAVAILABLE, "key: the store cannot be read")
        return refused("key: unknown") if record is None else record

    def _judged(
        self, record: KeyRecord, proof: Presented | Alias, address: str
    ) -> Caller | Refusal:
        request = Request(None, "authorization", Route(), "", API_HOST, "", address, NO_HEADERS)
        now = self._clock.wall_ms()
        refusal = policy.judge(record, proof, request, now)
        if refusal is not None:
            if refusal.reason is Reason.CANARY:
                self._sightings.note(Action.CANARY, record.kid, address, now)
            return refused(f"key: {refusal.reason.value}")
        bindings = bindings_of_key(record.scopes, record.tenant_id, record.project_id)
        if not bindings and not self._own_actions:
            return refused("key: it has no role")
        kind = Kind.KEY if bindings else Kind.HOLDER
        return Caller(record.kid, kind, bindings, record.kid, self._own_actions)


class Authentication:
    """An Authenticator. A part that is not configured is None or empty, and identifies nobody.

    certificates: URI of a client certificate -> binding. A certificate whose URIs are not there is
    no credential: it only protects the connection.
    """

    def __init__(
        self,
        keys: KeyIdentifier | None,
        tokens: TokenIdentifier | None = None,
        certificates: Mapping[str, Binding] | None = None,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._certificates = certificates or {}

    async def authenticate(self, credentials: Credentials) -> Caller | Refusal:
        """Implement Authenticator.authenticate: return the caller, or the refusal as a value.

        Refused: no credential, several, or an `authorization` that is not one Bearer credential. A
        text that begins like a key of ours is a key, any other a token.
        """
        named = [uri for uri in credentials.certificate_uris if uri in self._certificates]
        if len(credentials.authorization) + len(named) > 1:
            return refused("several credentials")
        if named:
            uri = named[0]
            if not is_subject(uri):
                return refused("certificate: its URI cannot be used")
            return Caller(uri, Kind.CERTIFICATE, (self._certificates[uri],))
        if not credentials.authorization:
            return refused("no credential")
        (header,) = credentials.authorization
        if len(header) > MAX_TOKEN + _CHALLENGE:
            return refused("authorization: too long")
        match = _BEARER.fullmatch(header)
        if match is None:
            return refused("authorization: not one Bearer credential")
        return await self._bearer(match[1], credentials.peer)

    async def _bearer(self, text: str, peer: str) -> Caller | Refusal:
        if self._keys is not None and self._keys.claims(text):
            return await self._keys.identify(text, peer)
        if self._tokens is not None:
            return await self._tokens.identify(text)
        return refused("authorization: no such credential is accepted")
