"""Imported keys through the real Envoy: import, use, rotation, revocation."""

import asyncio
from contextlib import closing

from authz.cli.demo import Client
from authz.core.changes import Author
from authz.core.records import RevocationReason
from tests.support.real import eventually
from tests.support.system import FOREIGN, Installation, run_import


def kid_of(client: Client, text: str) -> str:
    """Return the kid that the backend got."""
    return client.get(x_api_key=text).arrived["x-auth-key-id"]


def code_of(client: Client, text: str) -> str:
    """Return the error code of a request with this key, or an empty text."""
    return client.get(x_api_key=text).body.get("code", "")


def test_the_life_of_an_imported_key(own_installation: Installation) -> None:
    """An imported key is unknown before, works after, has two secrets when rotated, none when
    revoked.
    """
    with closing(own_installation.client()) as client:
        asyncio.run(eventually(lambda: code_of(client, FOREIGN) == "invalid_api_key"))

        report = run_import(
            own_installation, {"key": FOREIGN, "client": "acme", "scope": ["demo:read"]}
        )
        assert [report[name] for name in ("imported", "already_there", "refused")] == [1, 0, 0]
        asyncio.run(eventually(lambda: client.get(x_api_key=FOREIGN).status == 200))
        arrived = client.get(x_api_key=FOREIGN).arrived
        assert arrived["x-auth-client-id"] == "acme"
        assert arrived["x-auth-scopes"] == "demo:read"
        assert "x-api-key" not in arrived
        kid = arrived["x-auth-key-id"]

        for other in (FOREIGN[:-1], FOREIGN + "=", "sk-garbage-that-nobody-has"):
            asyncio.run(eventually(lambda other=other: code_of(client, other) == "invalid_api_key"))
        assert client.get(authorization=f"Bearer {FOREIGN}").body["code"] == "missing_api_key"

        assert (
            run_import(own_installation, {"key": FOREIGN, "client": "acme"})["already_there"] == 1
        )

        author = Author("c-rotate", "tests")
        rotated = own_installation.administer(lambda life: life.rotate(kid, 3_600_000, author))
        for text in (FOREIGN, rotated.key_text):
            assert kid_of(client, text) == kid

        end = Author("c-revoke", "tests")
        reason = RevocationReason.SUPERSEDED
        own_installation.administer(lambda life: life.revoke(kid, reason, end))
        for text in (FOREIGN, rotated.key_text):
            asyncio.run(eventually(lambda text=text: code_of(client, text) == "api_key_revoked"))
