"""CodeLogin: logs a browser in at an identity provider.

The authorization code flow (OpenID Connect Core 1.0 section 3.1) with PKCE S256 (RFC 7636), state,
nonce and the issuer of the response (RFC 9207). The client is confidential or public.
"""

import asyncio
import hmac
import json
import logging
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from authz.core.access import Refusal, RefusalKind
from authz.core.bearer_token import refused
from authz.core.console_session import ProvedSubject
from authz.core.errors import Unavailable
from authz.core.login_attempt import LoginAttempt
from authz.core.ports import Clock
from authz.identity.metadata import Metadata, fetch_metadata
from authz.identity.provider import Provider
from authz.process.web_client import WebClient

METADATA_SECONDS: Final = 600.0  # for which the provider's metadata are used again
PAUSE_SECONDS: Final = 5.0  # after a fetch of them that failed
MAX_CODE: Final = 2048  # characters
MAX_LABEL: Final = 100  # characters
LABELS: Final = ("email", "preferred_username", "name")

log = logging.getLogger("authz.identity")


@dataclass(frozen=True, slots=True)
class LoginClient:
    """Our registration at the provider. secret: empty for a public client."""

    issuer: str
    client_id: str
    secret: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ("openid",)


class CodeLogin:
    """Logs in at one provider. tokens: checks ID tokens, whose audience is our client id."""

    def __init__(self, web: WebClient, client: LoginClient, tokens: Provider, clock: Clock) -> None:
        self._web = web
        self._client = client
        self._tokens = tokens
        self._clock = clock
        self._metadata: tuple[float, Metadata] | None = None
        self._fetching = asyncio.Lock()
        self._failed = float("-inf")

    async def address(self, attempt: LoginAttempt) -> str:
        """Return the provider's address to send the browser to. Raises Unavailable."""
        metadata = await self._current_metadata()
        endpoint = metadata.address("authorization_endpoint")
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._client.client_id,
                "redirect_uri": attempt.redirect_uri,
                "scope": " ".join(self._client.scopes),
                "state": attempt.state,
                "nonce": attempt.nonce,
                "code_challenge": attempt.challenge,
                "code_challenge_method": "S256",
            },
            quote_via=quote,
        )
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    async def complete(
        self, attempt: LoginAttempt, query: Mapping[str, str]
    ) -> ProvedSubject | Refusal:
        """Return the subject that the provider's response names, or the refusal.

        query: the response, each parameter once. The state is checked first: a response that this
        browser did not ask for costs no request. The refusal is UNAVAILABLE if the provider does
        not answer.
        """
        if not hmac.compare_digest(query.get("state", "").encode(), attempt.state.encode()):
            return refused("login: another state")
        try:
            metadata = await self._current_metadata()
            if not self._is_from_issuer(metadata, query):
                return refused("login: a response of another issuer")
            code = query.get("code", "")
            if "error" in query or not 0 < len(code) <= MAX_CODE:
                return refused("login: the provider refused")
            text = await self._redeem(metadata, code, attempt)
        except Unavailable as cause:
            log.warning("a login could not be completed: %s", cause)
            return Refusal(RefusalKind.UNAVAILABLE, "login: the provider does not answer")
        if text is None:
            return refused("login: the provider did not take the code")
        return await self._identified(text, attempt)

    async def _identified(self, text: str, attempt: LoginAttempt) -> ProvedSubject | Refusal:
        claims = await self._tokens.claims_of(text)
        if isinstance(claims, Refusal):
            return claims
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(
            nonce.encode(), attempt.nonce.encode()
        ):
            return refused("login: another nonce")
        party = claims.get("azp", self._client.client_id)
        if party != self._client.client_id:
            return refused("login: a token for another client")
        subject = self._tokens.subject_of(claims)
        return ProvedSubject(subject, self._tokens.roles_of(claims), _label(claims))

    def _is_from_issuer(self, metadata: Metadata, query: Mapping[str, str]) -> bool:
        """Return whether `iss` is right, or absent from a provider that does not send it."""
        if "iss" in query:
            return query["iss"] == self._client.issuer
        return metadata.members.get("authorization_response_iss_parameter_supported") is not True

    async def _redeem(self, metadata: Metadata, code: str, attempt: LoginAttempt) -> str | None:
        """Return the ID token for a code; None if the provider refuses. Raises Unavailable."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        methods = metadata.names("token_endpoint_auth_methods_supported")
        if self._client.secret and (not methods or "client_secret_basic" in methods):
            headers["Authorization"] = _basic(self._client.client_id, self._client.secret)
        else:
            form["client_id"] = self._client.client_id
            if self._client.secret:
                form["client_secret"] = self._client.secret
        body = urlencode(form).encode()
        endpoint = metadata.address("token_endpoint")
        response = await self._web.send("POST", endpoint, body=body, headers=headers)
        if not response.is_ok:
            log.warning("the identity provider answered %d to a code", response.status)
            return None
        try:
            found = json.loads(response.body)
        except (ValueError, RecursionError):
            raise Unavailable("the provider's tokens are no JSON") from None
        token = found.get("id_token") if isinstance(found, dict) else None
        return token if isinstance(token, str) else None

    async def _current_metadata(self) -> Metadata:
        """Return the metadata. One fetch runs at a time, and none soon after a failure."""
        async with self._fetching:
            now = self._clock.monotonic()
            if self._metadata is not None and now - self._metadata[0] < METADATA_SECONDS:
                return self._metadata[1]
            if now - self._failed < PAUSE_SECONDS:
                raise Unavailable("the provider did not answer a moment ago")
            try:
                found = await fetch_metadata(self._web, self._client.issuer)
            except Unavailable:
                self._failed = self._clock.monotonic()
                raise
            self._metadata = now, found
            return found


def _basic(client_id: str, secret: str) -> str:
    """Return the Authorization header of a client (RFC 6749 section 2.3.1)."""
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return f"Basic {b64encode(pair.encode()).decode()}"


def _label(claims: Mapping[str, Any]) -> str:
    """Return a name of the subject for people: printable, at most MAX_LABEL (100) characters."""
    for name in LABELS:
        found = claims.get(name)
        if isinstance(found, str) and found.isprintable() and 0 < len(found) <= MAX_LABEL:
            return found
    return ""
