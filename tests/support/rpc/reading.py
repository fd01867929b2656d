"""How tests read requests and the keys in them."""

import pytest

from authz.core.decision import Deny, Reason
from authz.core.keys.credentials import Imported
from authz.core.request import Request
from authz.rpc.check.extract import Extractor
from tests.support.fakes import KID, make_keyring
from tests.support.rpc.messages import check_request

RING = make_keyring()
KEY = RING.mint("live", KID).text
OTHER = RING.mint("test").text
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2ln"
CARRIERS = ("x-api-key:", "authorization:bearer")
FORMS = pytest.mark.parametrize("raw_headers", [False, True], ids=["map", "raw"])


def extractor(**settings) -> Extractor:
    """Return an extractor with the default carriers."""
    return Extractor(RING, **{"carriers": CARRIERS} | settings)


def read(headers=(), *, settings=None, **message) -> Request:
    """Return the result of an extractor for one request."""
    return extractor(**settings or {}).read(check_request(headers, **message).SerializeToString())


def credential(request: Request) -> str | Reason | None:
    """Return the kid of a key, "imported", the reason of a refusal, or None."""
    found = request.credential
    if isinstance(found, Imported):
        return "imported"
    if isinstance(found, Deny):
        return found.reason
    return found and found.kid
