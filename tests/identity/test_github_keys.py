"""Signatures of GitHub's reports, and the keys that check them."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from authz.core.errors import Unavailable
from authz.identity.github_keys import FETCH_PAUSE, GRACE, REFRESH, GithubKeys, parsed
from tests.support.fakes import FakeClock

BODY = b'[{"token": "x"}]'


def key_list(**keys):
    """Return a list of public keys as GitHub serves it."""
    rows = [
        {"key_identifier": name, "key": pem(key), "is_current": True} for name, key in keys.items()
    ]
    return json.dumps({"public_keys": rows}).encode()


def pem(key):
    """Return the public part of a key."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def signature(key, body=BODY):
    """Return a signature as GitHub sends it."""
    return base64.b64encode(key.sign(body, ec.ECDSA(hashes.SHA256()))).decode()


class Server:
    """Serves a list of keys, and counts the fetches."""

    def __init__(self, answer):
        self.answer = answer
        self.fetches = 0

    async def fetch(self):
        """Return the list, or fail."""
        self.fetches += 1
        if self.answer is None:
            raise Unavailable("down")
        return self.answer


@pytest.fixture
def key():
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


async def test_a_right_signature(key):
    """A body is accepted with the signature of a listed key, and no other body or key is."""
    other = ec.generate_private_key(ec.SECP256R1())
    keys = GithubKeys(Server(key_list(a=key, b=other)).fetch, FakeClock())
    right = signature(key)
    assert await keys.has_signed("a", right, BODY)
    for wrong in (
        ("b", right, BODY),
        ("c", right, BODY),
        ("a", right, BODY + b" "),
        ("a", signature(other), BODY),
        ("a", "", BODY),
        ("a", "nonsense", BODY),
        ("a", "A" * 100_000, BODY),
        ("a", base64.b64encode(b"\x30\x00").decode(), BODY),
    ):
        assert not await keys.has_signed(*wrong)


async def test_fetches_are_bounded(key):
    """Unknown ids fetch at most once in a minute, and a known id does not fetch."""
    server, clock = Server(key_list(a=key)), FakeClock()
    keys = GithubKeys(server.fetch, clock)
    for n in range(50):
        await keys.has_signed(f"x{n}", "", BODY)
    assert server.fetches == 1
    clock.advance(FETCH_PAUSE)
    await keys.has_signed("a", signature(key), BODY)
    assert server.fetches == 1
    await keys.has_signed("x", "", BODY)
    assert server.fetches == 2


async def test_new_keys_are_fetched(key):
    """A key that was taken from the list is refused after half an hour."""
    server, clock = Server(key_list(a=key)), FakeClock()
    keys = GithubKeys(server.fetch, clock)
    assert await keys.has_signed("a", signature(key), BODY)
    server.answer = key_list(b=key)
    assert await keys.has_signed("a", signature(key), BODY)
    clock.advance(REFRESH)
    assert not await keys.has_signed("a", signature(key), BODY)
    assert await keys.has_signed("b", signature(key), BODY)


async def test_an_outage_of_github(key):
    """The last keys stay in use for a day. Without keys nothing is accepted."""
    server, clock = Server(None), FakeClock()
    keys = GithubKeys(server.fetch, clock)
    with pytest.raises(Unavailable):
        await keys.has_signed("a", signature(key), BODY)
    server.answer = key_list(a=key)
    clock.advance(FETCH_PAUSE)
    assert await keys.has_signed("a", signature(key), BODY)
    server.answer = None
    clock.advance(GRACE - 1)
    assert await keys.has_signed("a", signature(key), BODY)
    clock.advance(FETCH_PAUSE)
    with pytest.raises(Unavailable):
        await keys.has_signed("a", signature(key), BODY)


def test_only_p256_keys_count(key):
    """Keys of another kind or curve are left out; a list of another form is refused."""
    others = {
        "rsa": rsa.generate_private_key(65537, 2048),
        "p384": ec.generate_private_key(ec.SECP384R1()),
    }
    assert list(parsed(key_list(a=key, **others))) == ["a"]
    garbled = {"key_identifier": "g", "key": "no key", "is_current": True}
    mixed = json.loads(key_list(a=key))
    mixed["public_keys"].append(garbled)
    assert list(parsed(json.dumps(mixed).encode())) == ["a"]
    none = json.dumps({"public_keys": [garbled]}).encode()
    number = json.dumps({"public_keys": [garbled | {"key": 1}]}).encode()
    for text in (number, b"", b"{}", b"[]", b'{"public_keys": [1]}', b"[" * 100_000, none):
        with pytest.raises(Unavailable):
            parsed(text)
