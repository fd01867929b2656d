"""Key text from its specification alone: the reference that the product and the vectors must meet.

Straightforward on purpose, and without a line of `authz`. Run it to write the vectors anew:

    python -m tests.core.key_reference > tests/vectors/keys.json
"""

import hashlib
import hmac
import json
import zlib

ALPHABET = "0123456789" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "abcdefghijklmnopqrstuvwxyz"
PREFIX = "ak"
PEPPERS = {
    "1": hashlib.sha256(b"a throwaway pepper for the vectors").digest(),
    "b": hashlib.sha256(b"the throwaway pepper after that").digest() * 2,
}
KID = "7Hk2mQ9xT4bVzR1c"


def to_base62(number: int, width: int) -> str:
    """Digit by digit from the highest power of 62 down."""
    text = ""
    for power in range(width - 1, -1, -1):
        digit = number // 62**power
        text += ALPHABET[digit]
        number -= digit * 62**power
    return text


def from_base62(text: str) -> int:
    """The sum of its digits, each by its place."""
    return sum(ALPHABET.index(digit) * 62**place for place, digit in enumerate(reversed(text)))


def expand(secret: bytes, info: bytes) -> bytes:
    """RFC 5869, sections 2.2 and 2.3, for one block of output and no salt."""
    extracted = hmac.new(b"\x00" * 32, secret, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def tag(pepper: bytes, text: str) -> str:
    """The first 64 bits of HMAC-SHA-256 over all before it."""
    mac = hmac.new(expand(pepper, b"authz key tag"), text.encode(), hashlib.sha256).digest()
    return to_base62(int.from_bytes(mac[:8], "big"), 11)


def checksum(text: str) -> str:
    """CRC32 of all before it."""
    return to_base62(zlib.crc32(text.encode()), 6)


def key_text(env: str, kid: str, version: str, secret: int, prefix: str = PREFIX) -> str:
    """`{prefix}_{env}_{kid}_{pepper}{secret}{tag}{checksum}`."""
    text = f"{prefix}_{env}_{kid}_{version}{to_base62(secret, 43)}"
    text += tag(PEPPERS[version], text)
    return text + checksum(text)


def digest(version: str, text: str) -> str:
    """Return the stored digest of a key as hexadecimal text."""
    key = expand(PEPPERS[version], b"authz key digest")
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def judge(text: str) -> str:
    """The first step that refuses `text`: shape, checksum or tag; or `accepted`."""
    parts = text.split("_")
    if len(parts) != 4 or [len(part) for part in parts[2:]] != [16, 1 + 43 + 11 + 6]:
        return "shape"
    prefix, env, kid, body = parts
    if prefix != PREFIX or env not in ("live", "test") or not set(kid + body) <= set(ALPHABET):
        return "shape"
    if text[-6:] != checksum(text[:-6]):
        return "checksum"
    pepper = PEPPERS.get(body[0])
    if pepper is None or text[-17:-6] != tag(pepper, text[:-17]):
        return "tag"
    return "accepted"


def vectors() -> dict:
    """Return the content of `tests/vectors/keys.json`."""
    return {
        "prefix": PREFIX,
        "peppers": [{"version": v, "hex": secret.hex()} for v, secret in PEPPERS.items()],
        "accepted": [
            {"text": text, "kid": kid, "env": env, "pepper": v, "digest": digest(v, text)}
            for env, kid, v, secret in [
                ("live", KID, "1", 2**255 + 12345),
                ("test", KID, "1", 2**255 + 12345),
                ("live", KID, "b", 2**255 + 12345),
                ("live", "0000000000000000", "1", 0),
                ("live", "zzzzzzzzzzzzzzzz", "b", 2**256 - 1),
            ]
            for text in [key_text(env, kid, v, secret)]
        ],
        "refused": [{"text": text, "why": why, "by": judge(text)} for text, why in _refused()],
    }


def _refused() -> list[tuple[str, str]]:
    good = key_text("live", KID, "1", 2**255 + 12345)
    tagless = good[:-17]
    start = f"ak_live_{KID}_"
    upper = key_text("live", KID, "1", 2**255 + 12345, prefix="AK")
    return [
        ("", "empty"),
        (good[:-1], "the last character is missing"),
        (good[1:], "the first character is missing"),
        (good + "0", "one character too many"),
        (good + "\n", "a line feed at the end"),
        (good + "\r\n", "a line end at the end"),
        (good + "\0", "a NUL at the end"),
        (" " + good, "a blank before"),
        (good + " ", "a blank after"),
        ("\ufeff" + good, "a byte order mark before"),
        (f"{good},{good}", "two keys joined by a comma"),
        (f'"{good}"', "quoted"),
        (f"Bearer {good}", "with its scheme"),
        (good.replace("_", "-"), "hyphens instead of underscores"),
        (good.replace("ak_", "ak_prod_", 1), "a part too many"),
        (good.replace("_live_", "_prod_"), "an environment that is neither live nor test"),
        (good.replace("_live_", "_LIVE_"), "an environment in capitals"),
        (good.replace("_live_", "_live__"), "an empty part"),
        (good.replace("ak_", "akk_", 1), "a longer prefix"),
        (good.replace("ak_", "a_", 1), "a shorter prefix"),
        (good.replace("ak_", "sk_", 1), "another prefix"),
        (upper, "the prefix in capitals"),
        (good.replace("ak_", "\u0430k_", 1), "a Cyrillic letter in the prefix"),
        (good.replace(KID, KID[:-1]), "a kid of 15 characters"),
        (good.replace(KID, KID + "c"), "a kid of 17 characters"),
        (good.replace(KID, "7Hk2mQ9xT4bVzR1-"), "a hyphen in the kid"),
        (good.replace(KID, "7Hk2mQ9xT4bVzR1\u0661"), "an Arabic digit in the kid"),
        (good.replace(KID, "7Hk2mQ9xT4bVzR1\uff11"), "a full-width digit in the kid"),
        (good.replace(KID, "7Hk2mQ9xT4bVzR1\u212a"), "a Kelvin sign in the kid"),
        (good[:-6] + "!" * 6, "a body that holds what a proxy puts for odd bytes"),
        (good + "0" * (257 - len(good)), "257 characters"),
        (start + "1" * (59 * 1024), "59 KiB"),
        (good[:-6] + checksum("another text"), "the checksum of another text"),
        (good[:-6] + checksum(good[:-6]).swapcase(), "the checksum in the other case"),
        (good.replace("_live_", "_test_"), "the other environment"),
        (good.replace(KID, KID.swapcase()), "the kid in the other case"),
        (_whole(tagless + "0" * 11), "forged: no tag, a right checksum"),
        (_whole(tagless + tag(PEPPERS["b"], tagless)), "forged: the tag of another pepper"),
        (_whole(good.replace("_live_", "_test_")[:-6]), "forged: the other environment"),
        (_whole(good.replace(KID, "0" * 16)[:-6]), "forged: the tag of another kid"),
        (
            _whole(start + "2" + good[len(start) + 1 : -6]),
            "forged: a pepper that is not configured",
        ),
    ]


def _whole(text: str) -> str:
    return text + checksum(text)


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=2))
