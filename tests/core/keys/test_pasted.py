"""Keys in pasted text."""

from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.keys.pasted import Pasted, find_key, named_kid
from tests.support.fakes import KID, make_keyring

KEY = make_keyring().mint("live", KID).text
OTHER = make_keyring().mint("live").text
FOREIGN = "sk-proj-T3BlbkFJ0123456789=="


@pytest.mark.parametrize(
    ("text", "carrier"),
    [
        ("{}", ""),
        ('API_KEY="{}"', ""),
        ("export API_KEY={}", ""),
        ("api_key = '{}'", ""),
        ("Authorization: Bearer {}", "authorization:bearer"),
        ("x-api-key: {}", "x-api-key:"),
        ("'{}'", ""),
    ],
)
@pytest.mark.parametrize("key", [KEY, FOREIGN, KEY[:50]], ids=["ours", "foreign", "cut off"])
def test_one_thing_around_a_key_is_taken_off(text, carrier, key):
    """An assignment, a header, quotes; for keys of any format."""
    assert find_key(text.format(key), "ak") == Pasted(key, carrier)


@pytest.mark.parametrize(
    ("text", "carrier"),
    [
        ("curl -H 'x-api-key: {}' https://api.example.com/v1", "x-api-key:"),
        ('{{"headers": {{"Authorization": "Bearer {}"}}}}', "authorization:bearer"),
        ("https://api.example.com/v1?api_key={}&x=1", ""),
        ("OTHER=1\nAPI_KEY={}\nMORE=2", ""),
        ("{0} {0}", ""),
        ("see {}.", ""),
        ("found {}\N{HORIZONTAL ELLIPSIS}", ""),
    ],
)
def test_a_key_of_ours_is_found_in_any_text(text, carrier):
    """A key is found in text by its prefix, and the same key twice counts once."""
    assert find_key(text.format(KEY), "ak") == Pasted(KEY, carrier)


@pytest.mark.parametrize("key", [KEY, KEY[:50]], ids=["whole", "cut off"])
@pytest.mark.parametrize(
    "disguise",
    [
        lambda key: key.replace("_", "\\_"),
        lambda key: f"api\\_key: *{key}*".replace("_", "\\_"),
        lambda key: key.replace("_", "%5F"),
        lambda key: b64encode(key.encode()).decode(),
        lambda key: f"  token: {urlsafe_b64encode(key.encode()).decode().rstrip('=')}",
        lambda key: f"Basic {b64encode(f'{key}:'.encode()).decode()}",
    ],
)
def test_a_key_is_found_in_another_form(disguise, key):
    """Chats add backslashes, logs have percent escapes, and Secrets of Kubernetes are in base64."""
    found = find_key(disguise(key).strip(), "ak")
    assert (found.text, named_kid(found.text, "ak")) == (key, KID)


def test_base64_that_is_cut_off():
    """The kid is found wherever the text ends behind it."""
    whole = b64encode(KEY.encode()).decode()
    for length in range(40, len(whole)):
        assert named_kid(find_key(whole[:length], "ak").text, "ak") in {KID, ""}
    assert named_kid(find_key(whole[:45], "ak").text, "ak") == KID


def test_several_keys_are_refused():
    """Nobody can tell which one is meant."""
    with pytest.raises(BadInput, match="several keys"):
        find_key(f"OLD={KEY}\nNEW={OTHER}", "ak")
    assert find_key("a\nb", "ak") is None


@pytest.mark.parametrize(
    "text",
    [
        "garbage",
        KEY + "x",
        KEY.upper(),
        f"{KEY},{OTHER}",
        KEY.replace("_", "-"),
        "a=b",
        '{"key": "sk-0123456789abcdef", "client": "acme"}',
    ],
)
def test_text_that_only_looks_odd_is_judged_as_it_is(text):
    """A Check would get it like this."""
    assert find_key(text, "ak") == Pasted(text)


@given(st.text(max_size=300))
def test_any_text_has_a_result(text):
    """A key, or text that is taken for one, or none."""
    pasted = find_key(text.strip() or "x", "ak")
    assert pasted is None or pasted.text in text + "x"


@pytest.mark.parametrize(
    ("text", "kid"),
    [
        (KEY, KID),
        (KEY[:30], KID),
        (f"ak_live_{KID}", KID),
        (f"ak_test_{KID}_", KID),
        (f"ak_live_{KID[:-1]}", ""),
        (f"ak_live_{KID}x_1", ""),
        (f"other_live_{KID}_1", ""),
        (FOREIGN, ""),
    ],
)
def test_a_key_that_is_cut_off_still_names_its_kid(text, kid):
    """The kid stands before the secret."""
    assert named_kid(text, "ak") == kid
