"""Where in a request the one credential is, in both header forms."""

from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.decision import Reason
from authz.core.keys.credentials import Presented
from authz.core.request import IN_QUERY, Request
from authz.core.tokens.text import MAX_TOKEN, token_start
from authz.rpc.check.extract import Extractor
from tests.support.fakes import KID, make_keyring
from tests.support.rpc.messages import check_request
from tests.support.rpc.reading import CARRIERS, FORMS, JWT, KEY, OTHER, credential, extractor, read
from tests.support.tokens import ISSUER

NONE, AMBIGUOUS, MALFORMED = None, Reason.AMBIGUOUS_CREDENTIAL, Reason.MALFORMED
MISPLACED, UNRECOGNIZED = Reason.MISPLACED_CREDENTIAL, Reason.UNRECOGNIZED_CREDENTIAL
IMPORTED = "imported"
FOREIGN = "sk-9f8e7d6c/5b4a+3210=="
X, A = "x-api-key", "authorization"
CREDENTIALS = {
    "no header": ([], NONE, ""),
    "an empty header": ([(X, "")], NONE, ""),
    "a key": ([(X, KEY)], KID, X),
    "a key after Bearer": ([(A, f"Bearer {KEY}")], KID, A),
    "the scheme in lower case": ([(A, f"bearer {KEY}")], KID, A),
    "the scheme in upper case": ([(A, f"BEARER {KEY}")], KID, A),
    "two blanks after the scheme": ([(A, f"Bearer  {KEY}")], KID, A),
    "a key in both carriers": ([(X, KEY), (A, f"Bearer {KEY}")], AMBIGUOUS, ""),
    "different keys in both carriers": ([(X, KEY), (A, f"Bearer {OTHER}")], AMBIGUOUS, ""),
    "a key beside an empty carrier": ([(X, ""), (A, f"Bearer {KEY}")], KID, A),
    "two headers with the same key": ([(X, KEY), (X, KEY)], AMBIGUOUS, ""),
    "two headers with different keys": ([(X, KEY), (X, OTHER)], AMBIGUOUS, ""),
    "an empty header and a key": ([(X, ""), (X, KEY)], AMBIGUOUS, ""),
    "two keys in one header": ([(X, f"{KEY},{OTHER}")], AMBIGUOUS, ""),
    "a key and a comma": ([(X, f"{KEY},")], AMBIGUOUS, ""),
    "a key and garbage in two headers": ([(X, "nonsense"), (X, KEY)], AMBIGUOUS, ""),
    "a user's JWT": ([(A, f"Bearer {JWT}")], UNRECOGNIZED, ""),
    "a user's JWT beside the key": ([(A, f"Bearer {JWT}"), (X, KEY)], KID, X),
    "a user's password": ([(A, "Basic dTpw")], NONE, ""),
    "a user's password beside the key": ([(A, "Basic dTpw"), (X, KEY)], KID, X),
    "a password that looks like a key": ([(A, f"Basic {KEY}")], MISPLACED, ""),
    "a key without the scheme": ([(A, KEY)], MISPLACED, ""),
    "the scheme alone": ([(A, "Bearer")], NONE, ""),
    "two JWTs": ([(A, f"Bearer {JWT}"), (A, f"Bearer {JWT}")], UNRECOGNIZED, ""),
    "a scheme with parameters": ([(A, 'Digest username="u", realm="r"')], NONE, ""),
    "a JWT, then a key": ([(A, f"Bearer {JWT}"), (A, f"Bearer {KEY}")], AMBIGUOUS, ""),
    "a key, then a JWT": ([(A, f"Bearer {KEY}"), (A, f"Bearer {JWT}")], AMBIGUOUS, ""),
    "a JWT and a key in one header": ([(A, f"Bearer {JWT},\t bearer {KEY}")], AMBIGUOUS, ""),
    "two keys after Bearer": ([(A, f"Bearer {KEY},{KEY}")], AMBIGUOUS, ""),
    "our prefix and garbage after Bearer": ([(A, "Bearer ak_live_x")], MALFORMED, ""),
    "two words after Bearer": ([(A, f"Bearer {KEY} {KEY}")], MALFORMED, ""),
    "garbage": ([(X, "nonsense")], MALFORMED, ""),
    "a JWT in our header": ([(X, JWT)], IMPORTED, X),
    "a key of another make": ([(X, FOREIGN)], IMPORTED, X),
    "a key of another make after Bearer": ([(A, f"Bearer {FOREIGN}")], UNRECOGNIZED, ""),
    "a key of another make, without the scheme": ([(A, FOREIGN)], NONE, ""),
    "a key of another make beside a JWT": ([(X, FOREIGN), (A, f"Bearer {JWT}")], IMPORTED, X),
    "keys of both makes": ([(X, FOREIGN), (A, f"Bearer {KEY}")], AMBIGUOUS, ""),
    "our prefix and no environment": ([(X, "ak_prod_0123456789abcdef")], IMPORTED, X),
    "the same after Bearer": ([(A, "Bearer ak_prod_0123456789abcdef")], MALFORMED, ""),
    "our prefix and environment": ([(X, "ak_live_0123456789abcdef")], MALFORMED, ""),
    "15 characters": ([(X, "a" * 15)], MALFORMED, ""),
    "256 characters": ([(X, "a" * 256)], IMPORTED, X),
    "257 characters": ([(X, "a" * 257)], MALFORMED, ""),
    "an escape in a header": ([(X, "0123456789abcdef%3D")], MALFORMED, ""),
    "two keys of another make": ([(X, FOREIGN), (X, FOREIGN)], AMBIGUOUS, ""),
    "a key cut short": ([(X, KEY[:-1])], MALFORMED, ""),
    "a key and one character more": ([(X, KEY + "a")], MALFORMED, ""),
    "a key with a blank inside": ([(X, KEY[:30] + " " + KEY[31:])], MALFORMED, ""),
    "a key in quotes": ([(X, f'"{KEY}"')], MALFORMED, ""),
    "a key of 59 KiB": ([(X, KEY + "a" * 59 * 1024)], MALFORMED, ""),
    "59 KiB of commas": ([(X, "," * 59 * 1024)], AMBIGUOUS, ""),
    "59 KiB of commas after Bearer": ([(A, "Bearer " + "," * 59 * 1024)], NONE, ""),
    "a key that is not ASCII": ([(X, KEY[:-1] + "é")], MALFORMED, ""),
    "digits that are not ASCII": ([(X, KEY[:-1] + "\u0661")], MALFORMED, ""),
    "odd bytes in a key": ([(X, KEY[:-1].encode() + b"\xff")], MALFORMED, ""),
    "an exclamation mark in a key": ([(X, KEY[:-1] + "!")], MALFORMED, ""),
    "odd bytes after Bearer": ([(A, b"Bearer ak_\xff\xfe")], MALFORMED, ""),
}


@FORMS
@pytest.mark.parametrize(("headers", "found", "carrier"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_exactly_one_credential_is_found(headers, found, carrier, raw_headers):
    """One key in one carrier is the credential; what is not ours is ignored, doubt is refused."""
    request = read(headers, raw_headers=raw_headers)
    assert (credential(request), request.carrier) == (found, carrier)


def basic(text: str) -> str:
    """A value of Authorization with `text` as user name and password."""
    return "Basic " + b64encode(text.encode()).decode()


IN_ANOTHER_FORM = {
    "no scheme": KEY,
    "another scheme": f"Token {KEY}",
    "an unknown scheme": f"ApiKey {KEY}",
    "quotes": f'Bearer "{KEY}"',
    "single quotes": f"Bearer '{KEY}'",
    "angle brackets": f"Bearer <{KEY}>",
    "a tab after the scheme": f"Bearer\t{KEY}",
    "a colon after the scheme": f"Bearer: {KEY}",
    "an equals sign after the scheme": f"Bearer={KEY}",
    "no blank after the scheme": f"Bearer{KEY}",
    "the scheme twice": f"Bearer Bearer {KEY}",
    "a parameter": f'ApiKey key="{KEY}", realm=x',
    "an escape": f"Bearer {KEY.replace('_', '%5F')}",
    "behind a JWT": f"Bearer {JWT} {KEY}",
    "behind a JWT and a comma": f"Bearer {JWT}, {KEY}",
    "a semicolon": f"Bearer {JWT}; {KEY}",
    "a user name": basic(f"{KEY}:"),
    "a user name with a password": basic(f"{KEY}:x"),
    "a password": basic(f"user:{KEY}"),
    "neither user name nor password": basic(KEY),
    "Basic in lower case": basic(f"{KEY}:").replace("Basic", "basic"),
    "Basic without padding": basic(f"user:{KEY}").rstrip("="),
    "Basic with strange characters": basic(f"user:{KEY}").replace("X", "X.!"),
    "Basic with the other alphabet": basic(f"\u00ff\u00fe?>:{KEY}").translate(
        str.maketrans("+/", "-_")
    ),
    "Basic of two headers": basic("user:password") + "," + basic(f"user:{KEY}"),
    "a damaged key": f"Token {KEY[:40]}",
    "an escape of each character": "Token " + "".join(f"%{ord(c):02x}" for c in KEY),
    "an escape behind odd ones": f"%%zz%C3%E9 é{KEY.replace('a', '%61')}",
    "base64 after Bearer": f"Bearer {b64encode(KEY.encode()).decode()}",
    "base64 of more text": f"Bearer {b64encode(f'u:{KEY}'.encode()).decode()}",
    "base64 of one byte more": f"Bearer {b64encode(f'u{KEY}'.encode()).decode()}",
    "base64 in a parameter": f"Token token={b64encode(KEY.encode()).decode()}",
    "base64 with blanks": f"Bearer {' '.join(b64encode(KEY.encode()).decode())}",
    "base64 with noise": f"Token {'.!=,'.join(b64encode(KEY.encode()).decode())}",
    "escaped twice": f"Bearer {KEY.replace('_', '%255F')}",
    "escaped thrice": f"Token %252561{KEY[1:]}",
    "Basic without a blank": basic(f"{KEY}:").replace(" ", ""),
    "Basic with a colon": basic(f"{KEY}:").replace(" ", ": "),
    "Basic of more than 4 KiB": "Basic " + "a" * 4097,
}


@FORMS
@pytest.mark.parametrize("value", IN_ANOTHER_FORM.values(), ids=IN_ANOTHER_FORM)
def test_a_key_in_a_form_that_is_not_read_is_refused(value, raw_headers):
    """Also where a key is optional, and beside a good key: it must not reach a backend."""
    for route in ({}, {"auth": "optional"}):
        request = read([(A, value)], raw_headers=raw_headers, extensions=route)
        assert credential(request) is MISPLACED
        beside = read([(X, KEY), (A, value)], raw_headers=raw_headers, extensions=route)
        assert credential(beside) is AMBIGUOUS


def test_many_basic_credentials_are_ambiguous():
    """Nobody sends five, and each of them takes time to decode."""
    parts = [basic("user:password")] * 5
    assert credential(read([(A, ",".join(parts))], extensions={"auth": "optional"})) is AMBIGUOUS
    assert credential(read([(A, ",".join(parts[1:]))], extensions={"auth": "optional"})) is NONE


@pytest.mark.parametrize(
    "value", [f"Bearer {JWT}", "Bearer x", basic("user:password"), "Negotiate abc", "Bearer", ""]
)
def test_somebody_else_s_credential_is_left_alone(value):
    """On a route where a key is optional it is none of ours, and beside a key it stays."""
    anonymous = read([(A, value)], extensions={"auth": "optional"})
    assert (credential(anonymous), anonymous.carrier) == (NONE, "")
    beside = read([(A, value), (X, KEY)])
    assert (credential(beside), beside.carrier) == (KID, X)


BASIC = {"carriers": ("x-api-key:", "authorization:bearer", "basic:username")}
USERNAMES = {
    "a key": (basic(f"{KEY}:"), KID, A),
    "a key and a password": (basic(f"{KEY}:x"), KID, A),
    "the scheme in lower case": (basic(f"{KEY}:").replace("Basic", "basic"), KID, A),
    "two blanks": (basic(f"{KEY}:").replace(" ", "  "), KID, A),
    "no colon": (basic(KEY), MISPLACED, ""),
    "a key as the password": (basic(f"user:{KEY}"), MISPLACED, ""),
    "two keys": (basic(f"{KEY}:{OTHER}"), MISPLACED, ""),
    "two headers": (basic(f"{KEY}:") + "," + basic(f"{KEY}:"), MISPLACED, ""),
    "a damaged key": (basic(f"{KEY[:-1]}:"), MALFORMED, ""),
    "a key with a comma": (basic(f"{KEY},x:"), AMBIGUOUS, ""),
    "a user": (basic("user:password"), NONE, ""),
    "no base64": ("Basic !", NONE, ""),
    "a key of another make": (basic(f"{FOREIGN}:"), NONE, ""),
    "a key after Bearer": (f"Bearer {KEY}", KID, A),
    "another scheme": (f"Token {KEY}", MISPLACED, ""),
}


@pytest.mark.parametrize(("value", "found", "carrier"), USERNAMES.values(), ids=USERNAMES)
def test_a_user_name_carries_a_key_where_that_is_switched_on(value, found, carrier):
    """`basic:username` reads `curl -u KEY:`; the header goes when it held the key."""
    request = read([(A, value)], settings=BASIC)
    assert (credential(request), request.carrier) == (found, carrier)


def everything(request: Request) -> tuple:
    """All that a request says, in a form that can be compared."""
    found = request.credential
    names = ("x-api-key", "authorization", "origin", "content-type", "x-request-id", "x-absent")
    return (
        credential(request),
        found.digest() if isinstance(found, Presented) else None,
        request.carrier,
        request.route,
        request.method,
        request.host,
        request.path,
        request.client_address,
        [request.header(name, "-") for name in names],
    )


_NAMES = st.sampled_from([X, A, "origin", "content-type", "x-request-id", "x-forwarded-for"])
_VALUES = st.one_of(
    st.sampled_from([KEY, OTHER, f"Bearer {KEY}", f"Bearer {JWT}", ""]).map(str.encode),
    st.binary(max_size=12),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")),
)


@given(headers=st.lists(st.tuples(_NAMES, _VALUES), max_size=6))
@example(headers=[(X, b"\xe2\x82A"), (X, b"\xed\xa0\x80"), (A, b"\xf0\x9f")])
def test_both_header_forms_say_the_same(headers):
    """Raw headers are read as Envoy's joined map is, for every request of a client."""
    joined, raw = (read(headers, raw_headers=form) for form in (False, True))
    assert everything(joined) == everything(raw)


@FORMS
def test_a_header_may_stand_in_the_text_field_of_the_raw_form(raw_headers):
    """A proxy that fills `value` instead of `raw_value` is understood too."""
    message = check_request([("x-request-id", "abc")], raw_headers=raw_headers)
    message.attributes.request.http.header_map.headers.add(key=X, value=KEY)
    request = extractor().read(message.SerializeToString())
    # The map, where there is one, is the whole truth: two forms at once would be two truths.
    assert credential(request) == (KID if raw_headers else None)


QUERIES = {
    "no query": ("/v1", NONE),
    "an empty parameter": ("/v1?api_key=", NONE),
    "a key": (f"/v1?api_key={KEY}", KID),
    "a key among others": (f"/v1?a=1&api_key={KEY}&b=2", KID),
    "an empty parameter and a key": (f"/v1?api_key=&api_key={KEY}", KID),
    "the same key twice": (f"/v1?api_key={KEY}&api_key={KEY}", AMBIGUOUS),
    "two keys with a comma": (f"/v1?api_key={KEY},{KEY}", AMBIGUOUS),
    "a longer name": (f"/v1?xapi_key={FOREIGN}", NONE),
    "a longer name of a key": (f"/v1?xapi_key={KEY}", MISPLACED),
    "a name in upper case": (f"/v1?API_KEY={KEY}", MISPLACED),
    "a name with an escape": (f"/v1?api%5Fkey={KEY}", MISPLACED),
    "a name with an escape, of another make": (f"/v1?api%5Fkey={FOREIGN}", MISPLACED),
    "a name with an escape beside it": (f"/v1?api_key={KEY}&%61pi_key={KEY}", AMBIGUOUS),
    "another parameter with an escape": (f"/v1?b={KEY.replace('_', '%5f')}", MISPLACED),
    "another parameter beside it": (f"/v1?b={OTHER}&api_key={KEY}", AMBIGUOUS),
    "a semicolon": (f"/v1?a=1;api_key={KEY}", MISPLACED),
    "a key of escapes": ("/v1?api_key=" + "".join(f"%{ord(c):02x}" for c in KEY), MALFORMED),
    "escaped twice": (f"/v1?b={KEY.replace('_', '%255f')}", MISPLACED),
    "escaped thrice": (f"/v1?b=%252561{KEY[1:]}", MISPLACED),
    "escaped twice, beside it": (f"/v1?b=%2561{OTHER[1:]}&api_key={KEY}", AMBIGUOUS),
    "percent signs before it": (f"/v1?b=%%61{KEY[1:]}", MISPLACED),
    "another make, in upper case": (f"/v1?API_key={FOREIGN}", MISPLACED),
    "another make, in an array": (f"/v1?api_key[]={FOREIGN}", MISPLACED),
    "another make, in an escaped array": (f"/v1?api_key%5b0%5D={FOREIGN}", MISPLACED),
    "another make, behind a semicolon": (f"/v1?a=1;api_key={FOREIGN}", MISPLACED),
    "another make, with a dot": (f"/v1?api.key={FOREIGN}", MISPLACED),
    "another make, with a plus sign": (f"/v1?+api+key={FOREIGN}", MISPLACED),
    "another make, twice": (f"/v1?Api_Key={FOREIGN}&api_key={KEY}", AMBIGUOUS),
    "another make, under another name": (f"/v1?my_api_key={FOREIGN}&api_key2={FOREIGN}", NONE),
    "an odd name without a value": ("/v1?API_KEY=&api_key[]", NONE),
    "a path that looks like a query": (f"/v1&api_key={KEY}", NONE),
    "a second question mark": (f"/v1?a?api_key={KEY}", MISPLACED),
    "a question mark in the value": (f"/v1?api_key={KEY}?b", MALFORMED),
    "garbage": ("/v1?api_key=nonsense", MALFORMED),
    "a key of another make": (f"/v1?api_key={FOREIGN}", IMPORTED),
    "the same with escapes": ("/v1?api_key=sk-9f8e7d6c%2F5b4a%2b3210%3D%3d", IMPORTED),
    "an escape that is no text": ("/v1?api_key=0123456789abcdef%FF", MALFORMED),
    "an escaped comma": ("/v1?api_key=0123456789abcdef%2C0123456789abcdef", MALFORMED),
    "one of ours with an escape": (f"/v1?api_key=%61{KEY[1:]}", MALFORMED),
    "a path that looks like a host": (f"//evil/?api_key={KEY}", KID),
    "50,000 empty parameters": ("/v1?" + "&" * 50_000, NONE),
}


@pytest.mark.parametrize(("path", "found"), QUERIES.values(), ids=QUERIES)
def test_a_query_parameter_carries_a_key_where_that_is_switched_on(path, found):
    """The query is split at the first `?`, at `&` and at `=`, and off unless it is named."""
    request = read(path=path, settings={"query": "api_key"})
    assert credential(request) == found
    assert request.carrier == (IN_QUERY if found in {KID, IMPORTED} else "")
    assert credential(read(path=path)) is None


def test_a_key_in_the_query_and_one_in_a_header_are_one_too_many():
    """The query parameter is a carrier like the others."""
    request = read([(X, KEY)], path=f"/?api_key={KEY}", settings={"query": "api_key"})
    assert credential(request) is AMBIGUOUS


def test_the_name_of_a_query_parameter_is_no_pattern():
    """A dot in the name is a dot."""
    request = read(path=f"/?apixkey={FOREIGN}", settings={"query": "api.key"})
    assert credential(request) is None


@FORMS
@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("carrier", [X, A])
def test_a_text_beyond_the_longest_token_is_malformed(carrier, optional, raw_headers):
    """A text that begins as our tokens do is malformed if it is longer than any of them."""
    reader = Extractor(make_keyring(issuer=ISSUER), carriers=CARRIERS)
    text = token_start(ISSUER).ljust(MAX_TOKEN + 1, "A")
    message = check_request(
        [(carrier, text if carrier == X else f"Bearer {text}")],
        raw_headers=raw_headers,
        extensions={"auth": "optional"} if optional else {},
    )

    assert credential(reader.read(message.SerializeToString())) == MALFORMED
