"""The Tokens service: short-lived tokens, and the keys that sign them."""

from typing import Final

from authz.core import fields
from authz.core.access import visible
from authz.core.errors import BadInput, Fault, NotFound, Unavailable
from authz.core.fields import MAX_ORIGIN
from authz.core.roles import Action
from authz.core.tokens import text as token_text
from authz.flows.admin_flows import AdminFlows, TokenFlows
from authz.flows.tokens.exchange import Ask, ExchangeError, Refused
from authz.flows.tokens.issuing import NO_KEY, Wish
from authz.flows.tokens.key_rotation import KeyState
from authz.rpc.admin.api_error import ApiError, Code, invalid, refused
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.changing import Changing
from authz.rpc.admin.guards import permits
from authz.rpc.admin.hiding import hide_time
from authz.rpc.admin.key_messages import key_message
from authz.rpc.admin.values import (
    SIGNING_KEYS,
    duration,
    duration_ms,
    id_of,
    name_of,
    note_of,
    struct_of,
    timestamp,
)
from authz.rpc.pb.admin.v1 import tokens_pb2

MAX_TEXT: Final = 2 * token_text.MAX_TOKEN  # characters of a key or a token

_REFUSALS: Final = {
    ExchangeError.BAD_SUBJECT: ("api_key", "the key is not accepted; VerifyKey says why"),
    ExchangeError.BAD_SCOPE: ("scopes", "the key does not have one of these scopes"),
    ExchangeError.BAD_AUDIENCE: ("audience", "tokens.audiences does not have this audience"),
}


class TokensService:
    """The methods of authz.admin.v1.Tokens.

    They raise ApiError if the settings have no issuer, BadInput for a wrong field.
    """

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows
        self._changing = Changing(flows)

    async def issue_token(
        self, request: tokens_pb2.IssueTokenRequest, context: CallContext
    ) -> tokens_pb2.IssueTokenResponse:
        """Exchange a key for a token, and take nothing from its limits.

        A key that the caller may not see is refused like one that does not exist, and as late.
        """
        caller, wish = context.caller, _wish(request)
        ask = Ask(
            _text("api_key", request.api_key),
            wish,
            fields.line("origin", request.origin, MAX_ORIGIN) if request.origin else "",
            permits=lambda record: permits(caller, Action.ISSUE_TOKENS, record),
        )
        found = await self._tokens.exchange.exchange(ask)
        if isinstance(found, Refused):
            raise _refusal(found)
        return tokens_pb2.IssueTokenResponse(
            access_token=found.token,
            lifetime=duration(found.expires_in * 1000),
            scopes=sorted(found.claims.scopes),
            token_id=found.claims.token_id,
        )

    async def inspect_token(
        self, request: tokens_pb2.InspectTokenRequest, context: CallContext
    ) -> tokens_pb2.InspectTokenResponse:
        """Return the claims of a token, and whether a sidecar accepts it now.

        A key that the caller may not see is answered as one that does not exist.
        """
        token = _text("token", request.token)
        found = await self._tokens.inspection.inspect(token)
        response = tokens_pb2.InspectTokenResponse(
            accepted=found.reason is None, reason=found.reason or ""
        )
        parts = token_text.split(token)
        claims = parts and token_text.parse_claims(parts.claims)
        if claims:
            response.claims.CopyFrom(struct_of(claims.members()))
        if found.kid:
            response.key_name = name_of(found.kid)
        record, seen = found.record, visible(context.caller, Action.VERIFY)
        if record is not None and seen.covers(record.tenant_id, record.project_id):
            response.key.CopyFrom(key_message(record))
            response.has_secret = found.has_secret
        else:
            await hide_time(context.caller, context.began, self._flows.clock)
        return response

    async def list_signing_keys(
        self, _request: tokens_pb2.ListSigningKeysRequest, _context: CallContext
    ) -> tokens_pb2.ListSigningKeysResponse:
        """Return the signing keys, in the order in which they sign. Unreadable ones are last."""
        found = await self._tokens.rotation.list()
        return tokens_pb2.ListSigningKeysResponse(signing_keys=map(_signing_key, found))

    async def rotate_signing_key(
        self, request: tokens_pb2.RotateSigningKeyRequest, context: CallContext
    ) -> tokens_pb2.RotateSigningKeyResponse:
        """Make a signing key, once for each request id, and remove those that have expired.

        With `validate_only`, change nothing and return no key.
        """
        tokens = self._tokens
        author = self._changing.author(context, note_of(request.note), request.request_id)
        if request.validate_only:
            return tokens_pb2.RotateSigningKeyResponse()
        _, author = await self._changing.begin(request, author)
        key = await tokens.rotation.rotate(author, at_once=request.at_once)
        return tokens_pb2.RotateSigningKeyResponse(signing_key=_signing_key(key))

    async def delete_signing_key(
        self, request: tokens_pb2.DeleteSigningKeyRequest, context: CallContext
    ) -> tokens_pb2.DeleteSigningKeyResponse:
        """Remove a signing key: its tokens end within the trust lease.

        Raises ApiError if no signing key has the name.
        """
        key_id = id_of("name", request.name, SIGNING_KEYS, "qTE6TnOM0ab1Cd2E")
        author = self._changing.author(context, note_of(request.note))
        try:
            await self._tokens.rotation.remove(key_id, author, dry_run=request.validate_only)
        except NotFound as cause:
            raise ApiError(Code.NOT_FOUND, "SIGNING_KEY_NOT_FOUND", str(cause)) from None
        return tokens_pb2.DeleteSigningKeyResponse()

    @property
    def _tokens(self) -> TokenFlows:
        if self._flows.tokens is None:
            raise refused("tokens.issuer: is not set; there are no tokens without an issuer")
        return self._flows.tokens


def _refusal(found: Refused) -> Fault | ApiError:
    if found.why == NO_KEY:
        return refused(NO_KEY)
    if found.error not in _REFUSALS:
        return Unavailable(found.why)
    return invalid(*_REFUSALS[found.error])


def _text(field: str, text: str) -> str:
    if not 0 < len(text) <= MAX_TEXT:
        raise BadInput(field, f"1 to {MAX_TEXT} characters")
    return text


def _wish(request: tokens_pb2.IssueTokenRequest) -> Wish:
    lifetime = None
    if request.HasField("lifetime"):
        lifetime = duration_ms("lifetime", request.lifetime) // 1000
        if lifetime < 1:
            raise BadInput("lifetime", "at least 1s")
    try:
        scopes = fields.scopes("scopes", request.scopes) if request.scopes else None
    except BadInput as cause:  # whose field is else taken for one of a key
        raise invalid("scopes", cause.problem) from None
    return Wish(scopes, request.audience, lifetime)


def _signing_key(one: KeyState) -> tokens_pb2.SigningKey:
    message = tokens_pb2.SigningKey(
        name=f"{SIGNING_KEYS}{one.key_id}",
        state=f"STATE_{one.state.upper()}",
        pepper=one.pepper,
    )
    if one.created_at is not None:
        message.create_time.CopyFrom(timestamp(one.created_at))
    if one.signs_from is not None:
        message.sign_time.CopyFrom(timestamp(one.signs_from))
    if one.until is not None:
        message.verify_until_time.CopyFrom(timestamp(one.until))
    return message
