"""Metadata of an identity provider (OpenID Connect Discovery 1.0)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from authz.core.errors import BadInput, Unavailable
from authz.core.web_address import check_url
from authz.process.web_client import WebClient

OK: Final = 200


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of one issuer. Nothing but the issuer is checked yet."""

    members: Mapping[str, Any]

    def address(self, name: str) -> str:
        """Return a member that is a URL. Raises Unavailable unless it is https or loopback."""
        try:
            return check_url(name, str(self.members.get(name, "")))
        except BadInput as cause:
            raise Unavailable(f"the provider's metadata: {cause}") from None

    def names(self, name: str) -> list[str]:
        """Return the texts of a member that is a list; empty if it is none."""
        found = self.members.get(name)
        return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


async def fetch_metadata(client: WebClient, issuer: str) -> Metadata:
    """Return the metadata of an issuer, which have to name it (section 4.3).

    Raises Unavailable if they cannot be fetched or used.
    """
    location = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
    try:
        found = json.loads(await fetch_bytes(client, location))
    except (ValueError, RecursionError):
        raise Unavailable("the provider's metadata is no JSON") from None
    if not isinstance(found, dict) or found.get("issuer") != issuer:
        raise Unavailable("the provider's metadata names another issuer than admin.oidc.issuer")
    return Metadata(found)


async def fetch_bytes(client: WebClient, url: str) -> bytes:
    """Return the body at a URL. Raises Unavailable without a response of 200."""
    response = await client.send("GET", url, headers={"Accept": "application/json"})
    if response.status != OK:
        raise Unavailable(f"the identity provider answered {response.status}")
    return response.body
