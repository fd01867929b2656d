"""Compact records as somebody without the pepper can alter them."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from authz.core.seals import SEAL, VERSION
from authz.storage import compact
from authz.storage.field_codec import UNNUMBERED, length, read_length

# A value that decodes, by field: an attacker writes no garbage. Others come from another key.
LIKELY: Final = {
    "schema": ("2", "0"),
    "status": ("active", "revoked"),
    "env": ("test", "public:live"),
    "scopes": ("*",),
    "expires_at": ("99999999999999",),
    "outage_grace": ("86400000",),
    "limits": ("999999/s",),
    "plan": ("gold",),
    "metadata": ('{"team": "root"}',),
    "version": ("999999",),
    "revoked_at": ("1",),
    "revocation_reason": ("key_compromise",),
}
HEAD_PARTS: Final = ("form", "version", "mark", "pepper", "mac")


def altered_fields(
    right: Mapping[str, str], other: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a field and the record with another value of it. other: the record of another key."""
    for name, text in right.items():
        texts = {"", f"{text}0", other.get(name, ""), "active", text[1:], *LIKELY.get(name, ())}
        for changed in sorted(texts - {text}):
            mutant = {**right, name: changed}
            if name == VERSION:  # the compact form of a seal names no version
                pepper, _, mac = right[SEAL].split(":")
                mutant[SEAL] = f"{pepper}:{changed}:{mac}"
            yield name, mutant
    yield "new", {**right, "new": "field"}


def packed(records: Iterator[tuple[str, dict[str, str]]]) -> Iterator[tuple[str, bytes]]:
    """Yield those that have a compact form, in it."""
    for name, found in records:
        with suppress(ValueError, IndexError):
            yield name, compact.pack(found)


def parts(text: bytes) -> list[bytes]:
    """Return the head of a compact record, and each of its fields, as they stand."""
    found, at = [text[: compact.HEAD]], compact.HEAD
    while at < len(text):
        size, start = read_length(text, at + 1)
        found.append(text[at : start + size])
        at = start + size
    return found


def rearranged(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the record with a field left out, twice, in another place, empty, or in a longer form.

    And with fields that the record leaves out, unknown ones, and other ends.
    """
    head, *fields = parts(text)
    for at, field in enumerate(fields):
        before, after = fields[:at], fields[at + 1 :]
        yield f"without {field[0]}", b"".join([head, *before, *after])
        yield f"twice {field[0]}", b"".join([head, *before, field, field, *after])
        if after:
            yield f"last {field[0]}", b"".join([head, *before, *after, field])
        yield f"empty {field[0]}", b"".join([head, *before, field[:1] + b"\0", *after])
        size, start = read_length(field, 1)
        longer = field[:1] + bytes((size & 127 | 128, size >> 7 | 128, 0)) + field[start:]
        yield f"long length {field[0]}", b"".join([head, *before, longer, *after])
    there = {field[0] for field in fields}
    for number in range(256):
        if number in there:
            continue
        for value in (b"", b"a", b"active", b"live", b"1", b"{}", b"\0", b"\1a1"):
            new = bytes((number,)) + length(len(value)) + value
            ordered = sorted([*fields, new], key=lambda one: one[0])
            yield f"added {number}", b"".join([head, *ordered])
    last = fields[-1]
    size, start = read_length(last, 1)
    beyond = last[:1] + length(size + 1) + last[start:]
    yield "beyond the end", b"".join([head, *fields[:-1], beyond])
    named = length(6) + b"status" + b"active"
    yield "a known field by name", text + bytes((UNNUMBERED,)) + length(len(named)) + named
    for end in (b"\0", b"\n", b"\xff", text, text[:1]):
        yield "extended", text + end


def altered_bytes(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the record with one bit of each byte flipped, three bits a byte, and cut anywhere."""
    for at, byte in enumerate(text):
        for bit in (0, at % 6 + 1, 7):
            yield f"bit {bit} of byte {at}", text[:at] + bytes((byte ^ 1 << bit,)) + text[at + 1 :]
        yield f"cut at {at}", text[:at]


def mixed(right: bytes, other: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each part of the head, and the whole of it, from another sealed record."""
    for name, start, end in zip(HEAD_PARTS, (0, 1, 8, 24, 25), (1, 8, 24, 25, 41), strict=True):
        if right[start:end] != other[start:end]:
            yield f"the {name} of another", right[:start] + other[start:end] + right[end:]
    yield "the head of another", other[:41] + right[41:]
    yield "the fields of another", right[:41] + other[41:]
    yield "another record", other
