"""CheckRequest -> Request: routes, addresses, and what makes no sense."""

import logging

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.decision import Deny, Reason
from authz.core.keys.credentials import Presented
from authz.core.request import Route
from authz.rpc.check.extract import MAX_HEADERS, MAX_ROUTES
from authz.rpc.check.repeated_parts import MAX_PEER, MAX_PEERS, MAX_TARGETS
from tests.support.fakes import KID
from tests.support.rpc.messages import PEER, check_request
from tests.support.rpc.reading import FORMS, KEY, credential, extractor, read

X = "x-api-key"
BAD = Reason.BAD_REQUEST


@pytest.mark.parametrize(
    ("extensions", "route"),
    [
        ({}, Route()),
        ({"scopes": "models:generate"}, Route(scopes=frozenset({"models:generate"}))),
        ({"scopes": " a:b  c:d "}, Route(scopes=frozenset({"a:b", "c:d"}))),
        ({"scopes": ""}, Route()),
        ({"auth": "optional"}, Route(optional=True)),
        ({"auth": "required"}, Route()),
        ({"env": "test"}, Route(env="test")),
        (
            {"auth": "optional", "env": "live", "scopes": "a"},
            Route(scopes=frozenset({"a"}), optional=True, env="live"),
        ),
        ({"scopes": "", "auth": "", "env": "", "cost": "", "enforce": ""}, Route()),
        ({"enforce": "false"}, Route(enforce=False)),
        ({"enforce": "true", "cost": "2"}, Route(cost=2, enforce=True)),
    ],
)
def test_a_route_says_what_it_asks_for(extensions, route):
    """scopes, auth and env of context_extensions; an empty one says nothing."""
    assert read(extensions=extensions).route == route


def test_the_environment_of_the_settings_is_for_routes_that_name_none():
    """A route's own environment wins over the settings'."""
    settings = {"env": "live"}
    assert read(settings=settings).route.env == "live"
    assert read(settings=settings, extensions={"scopes": "a"}).route.env == "live"
    assert read(settings=settings, extensions={"env": "test"}).route.env == "test"


@pytest.mark.parametrize(
    "extensions",
    [
        {"auth": "yes"},
        {"auth": "Optional"},
        {"env": "prod"},
        {"scopes": "models generate!"},
        {"scopes": "a" * 300},
        {"cost": "five"},
        {"enforce": "no"},
        {"cost": "-1", "scopes": "models:generate"},
        {"scope": "models:generate"},
        {"scope": ""},
        {"Scopes": "models:generate", "auth": "required"},
        {"scopes": "models:generate", "x" * 5000: "", "\n": "y"},
        {"virtual_host": "somebody else's fact"},
    ],
)
def test_a_route_that_makes_no_sense_is_refused_and_the_operator_told(extensions, caplog):
    """A wrong fact, or an unknown one, is a bad request, logged once."""
    reader = extractor()
    # The same facts without a cost make sense, and are known by now.
    reader.read(check_request(extensions={"scopes": "models:generate"}).SerializeToString())
    raw = check_request([(X, KEY)], extensions=extensions).SerializeToString()
    with caplog.at_level(logging.WARNING):
        assert [credential(reader.read(raw)) for _ in range(3)] == [BAD] * 3
    assert len(caplog.records) == 1
    assert len(caplog.messages[0]) < 400
    assert caplog.messages[0].isprintable()
    assert KEY not in caplog.text


def test_the_hosts_that_are_remembered_are_bounded():
    """A client that invents hosts does not grow the memory."""
    reader = extractor()
    for number in range(MAX_TARGETS + 10):
        raw = check_request(host=f"h{number}.example").SerializeToString()
        assert reader.read(raw).host == f"h{number}.example"
    assert len(reader._targets) <= MAX_TARGETS


def test_the_routes_that_are_remembered_are_bounded():
    """More routes than any installation has do not grow the memory."""
    reader = extractor()
    for number in range(MAX_ROUTES + 10):
        raw = check_request(extensions={"scopes": f"s{number}"}).SerializeToString()
        assert reader.read(raw).route.scopes == {f"s{number}"}
    assert len(reader._routes) <= MAX_ROUTES
    for number in range(MAX_ROUTES + 10):
        reader.read(check_request(extensions={f"f{number}": ""}).SerializeToString())
    assert len(reader._strange) <= MAX_ROUTES


@FORMS
@pytest.mark.parametrize(
    "message",
    [
        {"host": "a.example,b.example"},
        {"host": ""},
        {"method": ""},
        {"path": ""},
        {"path": "", "method": "GET"},
    ],
)
def test_what_no_proxy_sends_is_a_bad_request(message, raw_headers):
    """Two hosts, no host, no method, and no path outside CONNECT are refused."""
    headers = [(X, KEY), ("content-type", "application/grpc")]
    request = read(headers, raw_headers=raw_headers, **message)
    assert credential(request) is BAD
    assert request.header("content-type", "") == "application/grpc"


@pytest.mark.parametrize("method", ["get", "Delete", "pOST", "m-search", "GÉT", "123"])
def test_a_method_that_is_not_in_upper_case_is_a_bad_request(method):
    """Many frameworks run the handler of DELETE for `delete`, and no rule for DELETE applies."""
    assert credential(read([(X, KEY)], method=method)) is BAD


@pytest.mark.parametrize("method", ["GET", "M-SEARCH", "PATCH", "QUERY", "X1"])
def test_a_method_in_upper_case_is_taken(method):
    """Whichever it is: what it means is the backend's affair."""
    assert credential(read([(X, KEY)], method=method)) == KID


@pytest.mark.parametrize(
    "host",
    [
        *("api.example.com:", "api.example.com:abc", "api.example.com:80:80", ":80", "a:123456"),
        *(
            "user@api.example.com",
            "user:secret@api.example.com",
            "api.example.com/x",
            "a b",
            "a%2e",
        ),
        *("api..example.com", ".example.com", "api.example.com..", "[::1", "::1", "[::1]x"),
        *("é.example", "a;b", "api.example.com:\uff180", "[fe80::1%25eth0]", "a" * 64, "a." * 2000),
    ],
)
def test_a_host_that_is_none_is_a_bad_request(host):
    """A backend may read another host in it than the rules."""
    assert credential(read([(X, KEY)], host=host)) is BAD


@pytest.mark.parametrize(
    "host",
    ["a", "A.Example.COM:8443", "a.b.", "a_b.c", "10.0.0.1:80", "[::1]", "[2001:db8::1]:443"],
)
def test_a_host_is_a_name_or_an_address(host):
    """With or without a port, in either case, as Envoy passes it on."""
    request = read([(X, KEY)], host=host)
    assert (credential(request), request.host) == (KID, host)


def test_a_byte_in_a_field_that_nobody_reads_spoils_nothing():
    """Envoy passes on dynamic metadata and the name of the TLS session as clients wrote them."""
    message = check_request([(X, KEY)])
    attributes = message.attributes
    attributes.tls_session.sni = "sni-of-a-client"
    fields = attributes.metadata_context.filter_metadata["mark"].fields
    fields["x"].string_value = "metadata-of-a-client"
    attributes.source.service = "service-of-a-client"
    attributes.request.http.id = "id-of-a-client"
    raw = message.SerializeToString()
    for text in (b"sni-of", b"metadata-of", b"service-of", b"id-of"):
        assert raw.count(text) == 1
        raw = raw.replace(text, b"\xe9" + text[1:])
    with pytest.raises(DecodeError):
        CheckRequest.FromString(raw)
    assert credential(extractor().read(raw)) == KID


@pytest.mark.parametrize("field", [b"GET", b"api.example.com", b"/v1/models"])
def test_a_byte_in_a_field_that_is_read_is_a_bad_request(field):
    """Method, host and path are text; the headers are still there for the answer."""
    raw = check_request([(X, KEY), ("content-type", "application/grpc")]).SerializeToString()
    request = extractor().read(raw.replace(field, field[:-1] + b"\xe9"))
    assert credential(request) is BAD
    assert request.header("content-type", "") == "application/grpc"


def test_connect_has_no_path():
    """An empty path is what CONNECT looks like."""
    request = read([(X, KEY)], method="CONNECT", path="")
    assert (credential(request), request.path) == (KID, "")


@pytest.mark.parametrize("path", ["//admin/x", "/a/../b", "/a%2fb", "/a;x=1/b", "*"])
def test_a_path_is_passed_on_as_it_is(path):
    """Nothing is parsed, resolved or unescaped."""
    assert read([(X, KEY)], path=path).path == path


@FORMS
def test_more_headers_than_a_proxy_lets_through_are_a_bad_request(raw_headers):
    """The bound is far above Envoy's own, in both forms."""
    headers = [(f"x-{number}", "v") for number in range(10_000)]
    assert credential(read(headers, raw_headers=raw_headers)) is BAD
    most = [(X, KEY), *headers[: MAX_HEADERS - 1]]
    assert credential(read(most, raw_headers=raw_headers)) == KID


@pytest.mark.parametrize("peer", ["203.0.113.7", "2001:db8::1", "::ffff:10.0.0.1", ""])
def test_the_client_is_the_peer(peer):
    """By default the address is the one that no client can write."""
    assert read([("x-forwarded-for", "1.2.3.4")], peer=peer).client_address == peer


def test_a_peer_on_a_pipe_has_no_address():
    """A client on a Unix socket is nowhere."""
    message = check_request([(X, KEY)])
    message.attributes.source.address.pipe.path = "/run/x.sock"
    request = extractor().read(message.SerializeToString())
    assert (credential(request), request.client_address) == (KID, "")


@FORMS
def test_the_client_can_be_taken_from_a_header(raw_headers):
    """With a header chosen the peer is the proxy in front: never a second choice."""
    settings = {"address_header": "x-envoy-external-address"}
    headers = [("x-envoy-external-address", "198.51.100.4")]
    assert read(headers, settings=settings, raw_headers=raw_headers).client_address == headers[0][1]
    assert read(settings=settings, raw_headers=raw_headers).client_address == ""
    assert read(raw_headers=raw_headers).client_address == PEER


@pytest.mark.parametrize("depth", range(4))
def test_a_message_with_parts_missing_is_a_bad_request(depth):
    """No attributes, no request, no http, nothing in http."""
    message = CheckRequest()
    part = message
    for name in ("attributes", "request", "http")[:depth]:
        part = getattr(part, name)
        part.SetInParent()
    assert credential(extractor().read(message.SerializeToString())) is BAD


@given(raw=st.binary(max_size=200))
@example(raw=b"")
@example(raw=b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
def test_bytes_that_are_no_message_are_a_bad_request(raw):
    """Nothing that arrives raises."""
    assert credential(extractor().read(raw)) is BAD


WHOLE = check_request(
    [(X, KEY), ("origin", "https://a.example")], extensions={"scopes": "a"}
).SerializeToString()


@given(data=st.data(), raw_headers=st.booleans())
def test_a_message_that_was_cut_or_altered_is_read_or_refused(data, raw_headers):
    """A damaged message is a Request like any other, whatever it says."""
    whole = check_request([(X, KEY)], raw_headers=raw_headers, extensions={"scopes": "a"})
    raw = bytearray(whole.SerializeToString())
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=3)):
        raw[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(raw)))
    request = extractor().read(bytes(raw[:end]))
    assert isinstance(request.route, Route)
    assert request.credential is None or isinstance(request.credential, Presented | Deny)
    assert isinstance(request.header(X, ""), str)


def test_every_truncation_of_a_message_is_read_or_refused():
    """However much of a message arrives, what is read of it is a whole key or none."""
    reader = extractor()
    found = {credential(reader.read(WHOLE[:end])) for end in range(len(WHOLE) + 1)}
    assert {BAD, KID} <= found <= {BAD, KID, Reason.MALFORMED, None}


def test_the_peers_that_are_remembered_are_bounded():
    """Every connection has a peer of its own. One with a certificate is not remembered."""
    reader = extractor()
    message = check_request([(X, KEY)])
    address = message.attributes.source.address.socket_address
    for port in range(1, MAX_PEERS + 10):
        address.port_value = port
        assert reader.read(message.SerializeToString()).client_address == PEER
    assert len(reader._peers) <= MAX_PEERS
    known = dict(reader._peers)
    message.attributes.source.certificate = "x" * MAX_PEER
    assert reader.read(message.SerializeToString()).client_address == PEER
    assert reader._peers == known


def test_a_peer_that_is_no_message_is_a_bad_request():
    """The request is refused each time, not only the first one."""
    raw = check_request([(X, KEY)], peer="203.0.113.7").SerializeToString()
    reader = extractor()
    for _ in range(2):
        assert credential(reader.read(raw.replace(b"203.0.113.7", b"203.0.113.\xe9"))) is BAD
        assert credential(reader.read(raw)) == KID
