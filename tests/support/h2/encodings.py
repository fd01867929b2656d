"""Header blocks of every form that RFC 7541 knows, and ways to spoil them."""

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import strategies as st

from authz.rpc.h2.header_blocks import PER_REQUEST

HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
STATIC_NAMES = {b":path": 4, b":method": 2, b":authority": 1, b"content-type": 31, b"accept": 19}

names = st.sampled_from(
    [
        *(b":method", b":path", b":authority", b"content-type", b"te", b"grpc-timeout", b"accept"),
        *(b"x-envoy-internal", b"x-forwarded-for", *sorted(PER_REQUEST)),
    ]
) | st.from_regex(rb"[a-z][a-z0-9-]{0,12}", fullmatch=True)
trace_ids = st.from_regex(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", fullmatch=True)
values = st.binary(max_size=12) | trace_ids | st.sampled_from([b"", b"POST", b"application/grpc"])
long_values = st.integers(100, 300).map(lambda size: b"a" * size)


def integer(value: int, bits: int, pattern: int) -> bytes:
    """Return an integer with a prefix of so many bits, in a byte that begins with `pattern`."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([pattern | value])
    out, value = bytearray([pattern | most]), value - most
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text: bytes, huffman: bool) -> bytes:
    """Return a string literal."""
    if huffman:
        coded = HUFFMAN.encode(text)
        return integer(len(coded), 7, 0x80) + coded
    return integer(len(text), 7, 0) + text


@st.composite
def literals(draw: st.DrawFn, patterns: tuple[int, ...] = (0x00, 0x10)) -> bytes:
    """One literal field: plain or never indexed, its name spelled out or from the static table."""
    name = draw(names)
    value = draw(values | long_values)
    pattern = draw(st.sampled_from(patterns))
    bits = 6 if pattern == 0x40 else 4
    if name in STATIC_NAMES and draw(st.booleans()):
        head = integer(STATIC_NAMES[name], bits, pattern)
    else:
        head = integer(0, bits, pattern) + string(name, draw(st.booleans()))
    return head + string(value, draw(st.booleans()))


static_fields = st.integers(1, 61).map(lambda index: integer(index, 7, 0x80))
dynamic_fields = st.integers(62, 70).map(lambda index: integer(index, 7, 0x80))
inserts = literals((0x40,))
size_updates = st.sampled_from([0, 1, 30, 31, 128, 4096, 4097]).map(lambda n: integer(n, 5, 0x20))

independent_blocks = st.lists(static_fields | literals(), max_size=8).map(b"".join)
blocks_without_table = st.builds(
    lambda updates, fields: b"\x20" * updates + b"".join(fields),
    st.integers(0, 2),
    st.lists(static_fields | literals() | inserts, max_size=8),
)


@st.composite
def any_blocks(draw: st.DrawFn) -> bytes:
    """Blocks that may use the table, change it, or point where nothing is."""
    updates = draw(st.lists(size_updates, max_size=3))
    fields = draw(st.lists(static_fields | literals() | inserts | dynamic_fields, max_size=8))
    return b"".join(updates + fields)


@st.composite
def spoiled(draw: st.DrawFn, blocks: st.SearchStrategy[bytes]) -> bytes:
    """A block with a part cut out, overwritten or put in."""
    block = draw(blocks)
    start = draw(st.integers(0, len(block)))
    end = min(len(block), start + draw(st.integers(0, 4)))
    return block[:start] + draw(st.binary(max_size=4)) + block[end:]
