"""Imported keys with a declared prefix, in every carrier."""

from base64 import b64encode

import pytest

from authz.core.decision import Reason
from authz.core.keys.keyring import Keyring
from authz.rpc.check.extract import Extractor
from tests.support.fakes import KID, make_pepper
from tests.support.rpc.messages import check_request
from tests.support.rpc.reading import FORMS, JWT, KEY, credential

RING = Keyring("ak", [make_pepper("1")], [], ["sk-", "cust_"])
CARRIERS = ("x-api-key:", "authorization:bearer", "basic:username")
X, A = "x-api-key", "authorization"
SK, CUST = "sk-9f8e7d6c/5b4a+3210==", "cust_123"
IMPORTED, AMBIGUOUS, MALFORMED = "imported", Reason.AMBIGUOUS_CREDENTIAL, Reason.MALFORMED
UNRECOGNIZED = Reason.UNRECOGNIZED_CREDENTIAL


def basic(text: str) -> str:
    """A value of Authorization with `text` as user name and password."""
    return "Basic " + b64encode(text.encode()).decode()


CREDENTIALS = {
    "after Bearer": ([(A, f"Bearer {SK}")], IMPORTED, A),
    "a short one after Bearer": ([(A, f"bearer {CUST}")], IMPORTED, A),
    "one that is too short": ([(A, "Bearer cust_12")], MALFORMED, ""),
    "as the user of Basic": ([(A, basic(f"{CUST}:"))], IMPORTED, A),
    "in x-api-key": ([(X, CUST)], IMPORTED, X),
    "in the query": ([], IMPORTED, "?"),
    "another's token": ([(A, "Bearer gho_0123456789abcdef")], UNRECOGNIZED, ""),
    "another's token beside a key": ([(A, f"Bearer {JWT}"), (X, SK)], IMPORTED, X),
    "in two carriers": ([(A, f"Bearer {SK}"), (X, SK)], AMBIGUOUS, ""),
    "two after Bearer": ([(A, f"Bearer {SK},Bearer {SK}")], AMBIGUOUS, ""),
    "a key of ours": ([(A, f"Bearer {KEY}")], KID, A),
    "our prefix and garbage": ([(A, "Bearer ak_live_0123456789abcdef")], MALFORMED, ""),
    "a user's password": ([(A, basic("alice:secret"))], None, ""),
    "no scheme": ([(A, SK)], None, ""),
}


@FORMS
@pytest.mark.parametrize(("headers", "found", "carrier"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_declared_keys_are_found(headers, found, carrier, raw_headers):
    """A declared prefix makes an imported key a credential in every carrier."""
    extractor = Extractor(RING, carriers=CARRIERS, query="api_key")
    path = f"/v1/models?api_key={CUST}" if carrier == "?" else "/v1/models"
    request = extractor.read(
        check_request(headers, raw_headers=raw_headers, path=path).SerializeToString()
    )
    assert credential(request) == found
    if found == IMPORTED and carrier != "?":
        assert request.carrier == carrier
        assert extractor.find_keys(request).headers == (carrier,)
