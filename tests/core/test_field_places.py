"""Where a key may be used from and to: address blocks, hosts and origins as they are given."""

import ipaddress

import pytest

from authz.core import fields
from authz.core.errors import BadInput

LONGEST = ".".join(["a" * 49] * 5) + ".abc"  # 253 characters

# networks


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("::/0", "::/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
    ],
)
def test_networks(text, network):
    """A block or an address is accepted, and IPv4-mapped IPv6 becomes IPv4."""
    assert fields.networks("allowed_cidrs", [text]) == (ipaddress.ip_network(network),)


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::ffff:0:0/95", "::fffe:0:0/95"),
    ],
)
def test_networks_with_host_bits_are_refused(text, block):
    """The message names the block, and does not take it: a guess would be a hole."""
    with pytest.raises(BadInput, match=f"is not an address block: its block is {block}$"):
        fields.networks("allowed_cidrs", [text])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "10.0.0/8",
        "010.0.0.0/8",
        "0x0a000000",
        "1",
        "10.0.0.0 /8",
        "::1%eth0",
        "fe80::%eth0/64",
        "localhost",
        "[::1]",
    ],
)
def test_refused_networks(text):
    """Odd spellings and zones are refused: a guess would be a hole."""
    with pytest.raises(BadInput, match=r"10\.0\.0\.0/8"):
        fields.networks("allowed_cidrs", [text])


# hosts


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM", "api.example.com"),
        ("*.example.com", "*.example.com"),
        ("localhost", "localhost"),
        ("192.0.2.1", "192.0.2.1"),
        ("_dmarc.a-b.xn--bcher-kva", "_dmarc.a-b.xn--bcher-kva"),
        ("a" * 63 + ".b", "a" * 63 + ".b"),
        (LONGEST, LONGEST),
    ],
)
def test_hosts(text, host):
    """A host is accepted exactly or with a leading `*.`, and becomes lower case."""
    assert fields.hosts("allowed_hosts", [text]) == (host,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "*.*.com",
        "a.*.com",
        "*a.com",
        ".com",
        "a..b",
        "a.com.",
        "-a.com",
        "a-.com",
        "a.-b",
        "a.com:443",
        "a.com/",
        "https://a.com",
        "user@a.com",
        "[::1]",
        "a" * 64,
        f"{LONGEST}d",
    ],
)
def test_refused_hosts(text):
    """A host with a port, a scheme, an empty part or another star is refused."""
    with pytest.raises(BadInput, match=r"\*\.example\.com"):
        fields.hosts("allowed_hosts", [text])


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.com", "api.example.com"),
        ("api.example.com:443", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com.:8080", "api.example.com"),
        ("[2001:DB8::1]:8080", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("api.example.com:", "api.example.com:"),
        ("api.example.com:http", "api.example.com:http"),
        ("api.example.com:80:80", "api.example.com:80"),
        ("api.example.com:\u0661", "api.example.com:\u0661"),
        ("api.example.com..", "api.example.com."),
        ("user@api.example.com", "user@api.example.com"),
        ("\u212aube.example.com", "\u212aube.example.com"),
        ("", ""),
        ("8080", "8080"),
        (":80", ""),
    ],
)
def test_split_host(authority, host):
    """A numeric port and one final dot are cut off; what is odd stays odd and matches nothing."""
    assert fields.split_host(authority) == host


# origins


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.com", "https://app.example.com"),
        ("app.example.com", "https://app.example.com"),
        ("app.example.com:8443", "https://app.example.com:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://*.example.com", "https://*.example.com"),
        ("*.example.com:8443", "https://*.example.com:8443"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("https://a.com:65535", "https://a.com:65535"),
        (f"https://{LONGEST}:8443", f"https://{LONGEST}:8443"),
    ],
)
def test_origins(text, origin):
    """As a browser sends them: lower case, without the port that the scheme implies."""
    assert fields.origins("allowed_origins", [text]) == (origin,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "https://",
        "https://*",
        "://a.com",
        "https://a.com/",
        "https://a.com/path",
        "https://a.com?x",
        "https://a.com#x",
        "https://user@a.com",
        "https://user:pass@a.com",
        "https://a.com:",
        "https://a.com:0",
        "https://a.com:65536",
        "https://a.com:080",
        "https://a.com:port",
        "https://a.*.com",
        "https://a.com,https://b.com",
        "https://a.com https://b.com",
        "https:/a.com",
        "1https://a.com",
        "https://[::1]",
        "https://a.com.",
        f"https://{LONGEST}d",
    ],
)
def test_refused_origins(text):
    """An origin that no browser sends is refused."""
    with pytest.raises(BadInput, match=r"https://app\.example\.com"):
        fields.origins("allowed_origins", [text])


@pytest.mark.parametrize(
    ("parse", "make"),
    [
        (fields.networks, lambda i: f"10.0.0.{i}"),
        (fields.hosts, lambda i: f"h{i}.example.com"),
        (fields.origins, lambda i: f"https://h{i}.example.com"),
    ],
)
def test_entries_are_bounded_and_counted_once(parse, make):
    """A list has at most 100 entries, in the order given, each once."""
    texts = [make(i) for i in range(101)]

    assert len(parse("field", texts[:100])) == 100
    assert parse("field", [texts[1], texts[0], texts[1]]) == parse("field", [texts[1], texts[0]])
    with pytest.raises(BadInput, match="at most 100"):
        parse("field", texts)
