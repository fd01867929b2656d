"""The keys of an issuer: rotation, bounded fetches, and an issuer that is down."""

import asyncio
from typing import Final

import pytest

from authz.core.access import Caller, Refusal, RefusalKind
from authz.core.errors import Unavailable
from authz.identity import key_set
from authz.identity.signing_keys import (
    FETCH_PAUSE,
    REFRESH,
    SigningKeys,
    discovered,
    located,
)
from authz.process.web_client import WebClient
from tests.identity.test_provider import provider
from tests.support.fakes import FakeClock
from tests.support.identity.issuer import Issuer, serving

GRACE: Final = 3600.0


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test moves."""
    return FakeClock()


@pytest.fixture
def issuer() -> Issuer:
    """An issuer with one key."""
    return Issuer()


@pytest.fixture
def keys(issuer: Issuer, clock: FakeClock) -> SigningKeys:
    """The keys of the issuer, not fetched yet."""
    return SigningKeys(issuer.fetch, clock, GRACE)


async def settle() -> None:
    """Let a background fetch finish."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_keys_are_fetched_once_for_many_tokens(keys: SigningKeys, issuer: Issuer):
    """Tokens that arrive together share one fetch, and later ones need none."""
    found = await asyncio.gather(*(keys.find("ES256", "k1") for _ in range(50)))
    assert all(found)
    assert len(issuer.hits) == 1


async def test_a_rotated_key_is_picked_up(keys: SigningKeys, issuer: Issuer, clock: FakeClock):
    """A token with a new kid makes one fetch, and is accepted at once."""
    assert await keys.find("ES256", "k1")
    issuer.rotate("k2")
    clock.advance(FETCH_PAUSE)
    assert await keys.find("ES256", "k2")
    assert not await keys.find("ES256", "k1")
    assert len(issuer.hits) == 2


async def test_unknown_kids_cannot_cause_many_fetches(
    keys: SigningKeys, issuer: Issuer, clock: FakeClock
):
    """A flood of tokens with invented kids causes at most one fetch in FETCH_PAUSE."""
    for seconds in range(60):
        for number in range(20):
            assert not await keys.find("ES256", f"invented-{seconds}-{number}")
        clock.advance(1)
    assert len(issuer.hits) <= 60 / FETCH_PAUSE + 1


async def test_old_keys_are_refreshed_in_the_background(
    keys: SigningKeys, issuer: Issuer, clock: FakeClock
):
    """A key that the issuer has removed is gone one refresh later, and nobody waits for it."""
    assert await keys.find("ES256", "k1")
    issuer.rotate("k2")
    clock.advance(REFRESH)
    assert await keys.find("ES256", "k1")
    await settle()
    assert not await keys.find("ES256", "k1")
    assert await keys.find("ES256", "k2")


async def test_the_last_keys_stay_in_use_for_the_grace(
    keys: SigningKeys, issuer: Issuer, clock: FakeClock
):
    """While the issuer is down, known keys work until the grace ends, and then nothing is known."""
    assert await keys.find("ES256", "k1")
    issuer.down = True
    clock.advance(GRACE - 1)
    assert await keys.find("ES256", "k1")
    await settle()
    clock.advance(1)
    with pytest.raises(Unavailable):
        await keys.find("ES256", "k1")
    issuer.down = False
    clock.advance(FETCH_PAUSE)
    assert await keys.find("ES256", "k1")


async def test_a_new_kid_is_unknown_while_the_issuer_is_down(
    keys: SigningKeys, issuer: Issuer, clock: FakeClock
):
    """The issuer may have rotated its keys, so the token is not called bad."""
    assert await keys.find("ES256", "k1")
    issuer.down = True
    clock.advance(FETCH_PAUSE)
    with pytest.raises(Unavailable):
        await keys.find("ES256", "k2")
    assert await keys.find("ES256", "k1")


async def test_a_failing_issuer_is_asked_rarely(
    keys: SigningKeys, issuer: Issuer, clock: FakeClock
):
    """Without any key, tokens cause one fetch in FETCH_PAUSE, and are answered UNAVAILABLE."""
    issuer.down = True
    for _ in range(100):
        with pytest.raises(Unavailable):
            await keys.find("ES256", "k1")
        clock.advance(0.5)
    assert len(issuer.hits) <= 50 / FETCH_PAUSE + 1


async def test_a_caller_that_gives_up_does_not_end_the_fetch(clock: FakeClock, issuer: Issuer):
    """The fetch goes on for the other callers."""
    go = asyncio.Event()

    async def fetch() -> bytes:
        await go.wait()
        return issuer.key_set()

    keys = SigningKeys(fetch, clock, GRACE)
    first = asyncio.create_task(keys.find("ES256", "k1"))
    second = asyncio.create_task(keys.find("ES256", "k1"))
    await settle()
    first.cancel()
    await settle()
    go.set()
    assert await second


async def test_an_issuer_that_is_down_makes_callers_unavailable(issuer: Issuer):
    """A token cannot be judged without keys: the caller gets 503, not 401."""
    issuer.down = True
    found = await provider(issuer).identify(issuer.token())
    assert isinstance(found, Refusal)
    assert found.kind is RefusalKind.UNAVAILABLE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[1,null,"x"]}',
        b'{"keys":[{"kty":"oct","k":"AAAA"}]}',
        b'{"keys":[{"kty":"RSA"}]}',
        b'{"keys":[{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}]}',
        b'{"keys":[{"kty":["EC"],"crv":{}}]}',
        b'{"keys":[' + b'{"kty":"EC"},' * 64 + b"{}]}",
        b"[" * 100_000,
    ],
)
def test_a_key_set_without_a_usable_key_is_refused(body: bytes):
    """A garbled, empty, symmetric or oversized key set replaces nothing."""
    with pytest.raises(Unavailable):
        key_set.parse(body)


def test_keys_for_other_purposes_are_skipped():
    """A key for encryption, and one that shows its private part, verify no token."""
    issuer = Issuer()
    key = issuer.keys["k1"]
    public = key.as_dict(private=False)
    for unusable in (
        key.as_dict(private=True),
        public | {"use": "enc"},
        public | {"key_ops": ["encrypt"]},
        public | {"alg": "ES384"},
        public | {"kid": 7},
    ):
        found = key_set.parse(_key_set(public | {"kid": "good"}, unusable))
        assert [one.key_id for one in found] == ["good"]


def test_a_token_without_a_kid_needs_a_single_key():
    """With two keys of its algorithm a token has to name one."""
    one = key_set.parse(Issuer().key_set())
    two = one + key_set.parse(Issuer().key_set())
    assert key_set.matching(one, "ES256", "") == one
    assert key_set.matching(two, "ES256", "") == ()
    assert key_set.matching(two, "RS256", "") == ()


async def test_the_key_set_is_found_by_the_metadata():
    """Over HTTP: the metadata name the key set, and the token of the issuer is good."""
    with serving(Issuer()) as issuer:
        served = provider(issuer)
        served._keys = SigningKeys(discovered(WebClient(), issuer.url), FakeClock(), GRACE)
        assert isinstance(await served.identify(issuer.token()), Caller)
        assert issuer.hits == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example.com"},
        {"jwks_uri": "http://192.0.2.1/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": 7},
        {"jwks_uri": "https://user:pw@idp.example.com/"},
    ],
)
async def test_metadata_that_mislead_are_refused(metadata: dict[str, object]):
    """Metadata of another issuer, or with an address that is not https, give no keys."""
    with serving(Issuer()) as issuer:
        issuer.metadata = metadata
        with pytest.raises(Unavailable):
            await discovered(WebClient(), issuer.url)()


@pytest.mark.parametrize("path", ["/large", "/moved", "/nothing-listens"])
async def test_a_response_that_is_no_key_set_is_refused(path: str):
    """A body over the bound, a redirect and a closed port are faults of the provider."""
    with serving(Issuer()) as issuer:
        url = "http://127.0.0.1:9/" if path == "/nothing-listens" else issuer.url + path
        with pytest.raises(Unavailable):
            await located(WebClient(), url)()
        assert "/keys" not in issuer.hits


def _key_set(*keys: dict[str, object]) -> bytes:
    import json

    return json.dumps({"keys": keys}).encode()
