"""Tokens and signing keys over the admin API."""

from collections.abc import Sequence
from typing import Any, Final

from authz.core.changes import Author
from authz.core.decision import Reason
from authz.core.errors import BadInput, Unreadable
from authz.core.tokens import text as token_text
from authz.flows.tokens.exchange import Ask, ExchangeError, Refused
from authz.flows.tokens.inspection import Inspected
from authz.flows.tokens.issuing import Issued
from authz.flows.tokens.key_rotation import KeyState
from authz.remote.calls import Calls
from authz.remote.records import kid_of, known, optional_ms, record_of
from authz.rpc.admin.values import SIGNING_KEYS, duration
from authz.rpc.pb.admin.v1 import tokens_pb2

_REFUSALS: Final = {
    "api_key": ExchangeError.BAD_SUBJECT,
    "scopes": ExchangeError.BAD_SCOPE,
    "audience": ExchangeError.BAD_AUDIENCE,
}


class RemoteTokens:
    """KeyExchange, TokenInspector and SigningKeys over the admin API."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._stub = calls.client.tokens

    async def exchange(self, ask: Ask) -> Issued | Refused:
        """Return the new token, or the refusal. Raises Unreadable for a text that is no token."""
        wish = ask.wish
        request = tokens_pb2.IssueTokenRequest(
            api_key=ask.subject,
            scopes=sorted(wish.scopes or ()),
            audience=wish.audience,
            origin=ask.origin,
        )
        if wish.lifetime is not None:
            request.lifetime.CopyFrom(duration(wish.lifetime * 1000))
        try:
            response = await self._calls.read(self._stub.IssueToken, request)
        except BadInput as cause:
            if cause.field not in _REFUSALS:
                raise
            return Refused(_REFUSALS[cause.field])
        parts = token_text.split(response.access_token)
        claims = parts and token_text.parse_claims(parts.claims)
        if not claims:
            raise Unreadable("the admin API sent a text that is no token")
        return Issued(claims, response.access_token)

    async def inspect(self, token: str) -> Inspected:
        """Return whether a token is accepted, and its key."""
        request = tokens_pb2.InspectTokenRequest(token=token)
        found = await self._calls.read(self._stub.InspectToken, request)
        if not found.accepted:
            return Inspected(known(Reason, found.reason))
        record = record_of(found.key) if found.HasField("key") else None
        return Inspected(None, kid_of(found.key_name), record, found.has_secret)

    async def list(self) -> Sequence[KeyState]:
        """Return all signing keys, in the order in which they sign."""
        request = tokens_pb2.ListSigningKeysRequest()
        response = await self._calls.read(self._stub.ListSigningKeys, request)
        return [_state(one) for one in response.signing_keys]

    async def rotate(self, author: Author, *, at_once: bool = False) -> KeyState:
        """Make a signing key and return it. The server knows the author."""
        request = tokens_pb2.RotateSigningKeyRequest(at_once=at_once, note=author.note)
        response = await self._calls.change(self._stub.RotateSigningKey, request)
        return _state(response.signing_key)

    async def remove(self, key_id: str, author: Author) -> None:
        """Remove a signing key. Raises NotFound if no key has the id."""
        request = tokens_pb2.DeleteSigningKeyRequest(
            name=f"{SIGNING_KEYS}{key_id}", note=author.note
        )
        await self._calls.change(self._stub.DeleteSigningKey, request)


def _state(one: Any) -> KeyState:
    return KeyState(
        one.name.removeprefix(SIGNING_KEYS),
        tokens_pb2.SigningKey.State.Name(one.state).removeprefix("STATE_").lower(),
        optional_ms(one, "create_time"),
        optional_ms(one, "sign_time"),
        optional_ms(one, "verify_until_time"),
        one.pepper,
    )
