"""Imported keys through the door: allowed like any other, and gone from what is forwarded."""

import asyncio

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.decision import Reason
from authz.core.records import Secret
from authz.flows.check import Checker
from authz.flows.imported import ImportedKeys
from authz.rpc.check.extract import Extractor
from authz.rpc.check.respond import Responder
from tests.support.fakes import KID, NOW, MemoryAliasSource, MemoryDigests, make_record
from tests.support.rpc.answers import headers_of
from tests.support.rpc.door import Door, OurPeppers
from tests.support.rpc.messages import check_request
from tests.support.rpc.reading import FORMS, RING

FOREIGN = "sk-9f8e7d6c/5b4a+3210=="
[(_, DIGEST)] = RING.parse_imported(FOREIGN).digests()
RECORD = make_record(secrets=(Secret("1", DIGEST, "1", NOW),), client_id="acme")


class ImportDoor(Door):
    """A door of a store that has one imported key."""

    def __init__(self) -> None:
        super().__init__()
        self.aliases = MemoryAliasSource()
        self.aliases.kids[DIGEST] = KID
        self.source.records[KID] = RECORD
        imported = ImportedKeys(
            self.aliases,
            self.cache,
            self.clock,
            self.probe,
            known=MemoryDigests(),
            rate=100,
            negative_ttl=5,
            max_entries=100,
            max_negatives=100,
            deadline=5,
        )
        imported.trust(float("inf"))
        carriers = ("x-api-key:", "x-old-key:", "authorization:bearer")
        self.extractor = Extractor(RING, carriers=carriers, query="api_key")
        self.checker = Checker(self.cache, OurPeppers(), self.clock, self.probe, imported)
        self.responder = Responder(
            header_prefix="x-auth-",
            removed_headers=("x-api-key", "x-old-key"),
            query="api_key",
            find_keys=self.extractor.find_keys,
        )
        self.compose()

    async def ask(self, headers=(), **message) -> CheckResponse:
        """The answer, both sources answering at once."""
        made = self.check(check_request(headers, **message).SerializeToString())
        if isinstance(made, bytes):
            return CheckResponse.FromString(made)
        waiting = asyncio.ensure_future(made)
        while not waiting.done():
            await asyncio.sleep(0)
            self.aliases.answer_all()
            self.source.answer_all()
        return CheckResponse.FromString(await waiting)


@FORMS
@pytest.mark.parametrize("carrier", ["x-api-key", "x-old-key"])
async def test_a_header(carrier, raw_headers):
    """The backend learns who calls; the key is removed; the second time nothing waits."""
    door = ImportDoor()
    message = {"headers": [(carrier, FOREIGN)], "raw_headers": raw_headers}
    answer = await door.ask(**message)
    identity = {h.header.key: h.header.value for h in answer.ok_response.headers}
    assert (identity["x-auth-key-id"], identity["x-auth-client-id"]) == (KID, "acme")
    assert carrier in answer.ok_response.headers_to_remove
    assert isinstance(door.check(check_request(**message).SerializeToString()), bytes)


@pytest.mark.parametrize("text", [FOREIGN, "sk-9f8e7d6c%2F5b4a%2B3210%3D%3D"])
async def test_the_query(text):
    """In a query, with or without escapes, and removed from it."""
    answer = await ImportDoor().ask(path=f"/v1?api_key={text}")
    assert answer.HasField("ok_response")
    assert headers_of(answer.ok_response)[":path"] == "/v1"


async def test_authorization_is_somebody_else_s():
    """After Bearer the same text is a user's token: no credential, and left where it is."""
    door = ImportDoor()
    answer = await door.ask([("authorization", f"Bearer {FOREIGN}")])
    assert door.probe.decisions == [Reason.UNRECOGNIZED_CREDENTIAL]
    assert answer.denied_response.status.code == 401
    assert door.aliases.lookups.total() == 0


async def test_what_is_not_known_is_503():
    """A lookup that fails is unavailable, never a wrong key."""
    door = ImportDoor()
    door.aliases.known = None
    answer = await door.ask([("x-api-key", FOREIGN)])
    assert answer.HasField("error_response")
    assert answer.error_response.status.code == 503
