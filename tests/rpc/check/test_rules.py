"""The requirements of a route that has rules of ours and context_extensions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision import Deny, Reason
from authz.core.request import Route
from authz.core.route_facts import Facts
from authz.core.route_rule import Rule
from authz.core.routes import RouteTable
from tests.support.rpc.messages import check_request
from tests.support.rpc.reading import extractor, read

ADMIN = Facts(scopes=frozenset({"admin:all"}), optional=False, env="live")


def rule(path: str, facts: Facts = ADMIN) -> Rule:
    """A rule for any host and any method."""
    return Rule.parse("routes", path, "", (), facts)


def asked(path: str, table: RouteTable, default: str | None = None, **said: str) -> Route | Reason:
    """Return the route that an extractor with these rules finds, without a credential."""
    request = read(path=path, extensions=said, settings={"rules": table, "env": default})
    found = request.credential
    return found.reason if isinstance(found, Deny) else request.route


def test_a_rule_gives_what_the_proxy_does_not_say():
    """Where context_extensions are silent, the first rule that applies decides."""
    table = RouteTable([rule("/admin/**"), rule("/**", Facts(optional=True))])

    assert asked("/admin/x?y=1", table) == Route(
        frozenset({"admin:all"}), optional=False, env="live"
    )
    assert asked("/other", table) == Route(optional=True)
    assert asked("/other", table, "test") == Route(optional=True, env="test")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "scopes": st.sampled_from(["a:b", "a:b c"]),
            "auth": st.sampled_from(["required", "optional"]),
            "env": st.sampled_from(["live", "test"]),
            "cost": st.sampled_from(["0", "7"]),
        },
    ),
    st.builds(
        Facts,
        st.none() | st.just(frozenset({"x:y"})),
        st.none() | st.booleans(),
        st.none() | st.sampled_from(["live", "test"]),
        st.none() | st.sampled_from([0, 5]),
    ),
    st.none() | st.sampled_from(["live", "test"]),
)
def test_the_proxy_wins_fact_by_fact(said, facts, default_env):
    """Each fact comes from context_extensions, else from the rule, else from the settings."""
    found = asked("/a", RouteTable([rule("/a", facts)]), default_env, **said)

    scopes = frozenset(said["scopes"].split()) if "scopes" in said else facts.scopes
    optional = said["auth"] == "optional" if "auth" in said else facts.optional
    cost = int(said["cost"]) if "cost" in said else 1 if facts.cost is None else facts.cost
    env = said.get("env") or facts.env or default_env
    assert found == Route(scopes or frozenset(), optional or False, env, cost)


@pytest.mark.parametrize(
    ("path", "said", "expected"),
    [
        ("/known", {}, Route()),
        ("/unknown", {}, Reason.ROUTE_NOT_ALLOWED),
        ("/unknown", {"route": "default"}, Reason.BAD_REQUEST),
        ("/unknown", {"auth": "required"}, Route()),
        ("/unknown", {"scopes": "a:b"}, Route(frozenset({"a:b"}))),
        ("/known/../unknown", {}, Reason.AMBIGUOUS_PATH),
        ("/known/../unknown", {"scopes": "a:b"}, Reason.AMBIGUOUS_PATH),
        ("/known", {"auth": "perhaps"}, Reason.BAD_REQUEST),
    ],
)
def test_what_no_rule_applies_to(path, said, expected):
    """With routes_default: deny only what a rule or the proxy speaks of is open."""
    table = RouteTable([rule("/known", Facts())], deny_unmatched=True)

    assert asked(path, table, **said) == expected


def test_without_rules_no_path_is_ambiguous():
    """The proxy decides what a route is; how it writes a path is its own affair."""
    request = read(path="/a/../b;c", settings={})

    assert request.credential is None


@pytest.mark.parametrize("name", ["x-http-method-override", "x-http-method", "x-method-override"])
@pytest.mark.parametrize("wanted", ["DELETE", "delete"])
def test_a_method_that_a_header_asks_for_has_the_same_rule(name, wanted):
    """Some frameworks run the handler of the method in the header."""
    rules = [Rule.parse("routes", "/a", "", ("DELETE",), ADMIN)]
    settings = {"rules": RouteTable(rules)}
    sent = {"method": "POST", "path": "/a", "settings": settings}

    assert read([(name, wanted)], **sent).credential == Deny(Reason.BAD_REQUEST)
    assert read([(name, "PATCH")], **sent).credential is None
    assert read([(name, wanted)], **sent | {"path": "/b"}).credential is None
    for_all = {"rules": RouteTable([rule("/a")])}
    assert read([(name, wanted)], **sent | {"settings": for_all}).route.scopes == ADMIN.scopes


DELETES = RouteTable([Rule.parse("routes", "/a", "", ("DELETE",), ADMIN)])


@pytest.mark.parametrize(
    "headers",
    [
        [("x-http-method-override", "DELETE,x")],
        [("x-http-method-override", "x, DELETE")],
        [("x-http-method-override", " DELETE ")],
        [("x-http-method-override", "PATCH"), ("x-http-method-override", "delete")],
        [("x-http-method-override", "DELETE x")],
        [("x-http-method-override", "," * 60_000)],
    ],
    ids=lambda headers: repr(headers)[:60],
)
def test_each_method_of_a_list_has_the_same_rule(headers):
    """Of a list some frameworks take the first part, some the last."""
    request = read(headers, method="POST", path="/a", settings={"rules": DELETES})
    assert request.credential == Deny(Reason.BAD_REQUEST)


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("_method=DELETE", True),
        ("x=1&_method=delete", True),
        ("x=1;_method=delete", True),
        ("%5Fmethod=%44ELETE", True),
        ("_method=PATCH&_method=DELETE", True),
        ("_method=PATCH", False),
        ("x_method=DELETE", False),
        ("_method=", False),
        ("x=%44", False),
    ],
)
def test_a_method_that_the_query_asks_for_has_the_same_rule(query, refused):
    """Some frameworks take the method from `_method` in the query."""
    request = read(method="POST", path=f"/a?{query}", settings={"rules": DELETES})
    assert (request.credential == Deny(Reason.BAD_REQUEST)) is refused


@pytest.mark.parametrize("said", [{"cost": "0"}, {"env": "live"}, {"enforce": "true"}])
def test_only_scopes_or_auth_open_a_route_that_no_rule_applies_to(said):
    """The other facts say how a request is counted, not that it is allowed."""
    table = RouteTable([rule("/known", Facts())], deny_unmatched=True)
    assert asked("/unknown", table, **said) is Reason.ROUTE_NOT_ALLOWED


def test_a_rule_names_its_route():
    """Two rules that require the same have a route each; what the proxy says changes no label."""
    table = RouteTable([rule("/a", Facts(label="a")), rule("/b", Facts(label="b"))])
    for said in ({}, {"cost": "7"}):
        labels = [
            route.label
            for route in (asked(path, table, **said) for path in ("/a", "/b", "/c", "/a"))
            if isinstance(route, Route)
        ]
        assert labels == ["a", "b", "", "a"]


BY_MODEL = RouteTable([rule("/chat", Facts(frozenset({"models:{model}:generate"})))])


def test_the_model_of_the_body_comes_from_the_metadata_of_envoy():
    """The scope names the model that the LLM filter read. Without one only a wildcard is enough."""
    found = read(path="/chat", model="gpt-4o", settings={"rules": BY_MODEL}).route
    assert (found.scopes, found.model) == ({"models:gpt-4o:generate"}, "gpt-4o")
    found = read(path="/chat", settings={"rules": BY_MODEL}).route
    assert (found.scopes, found.model) == ({"models:?:generate"}, "")


def test_a_client_cannot_name_the_model_otherwise():
    """Headers, the query and other metadata do not count, whatever their names and bytes are."""
    message = check_request(
        [("model", "gpt-4o"), ("authz.request", "model=gpt-4o")], path="/chat?model=gpt-4o"
    )
    spaces = message.attributes.metadata_context.filter_metadata
    spaces["other"].fields["model"].string_value = "gpt-4o"
    spaces["authz.request"].fields["Model"].string_value = "gpt-4o"
    spaces["authz.request"].fields["model"].number_value = 4
    raw = message.SerializeToString().replace(b"other", b"oth\xffr")

    found = extractor(rules=BY_MODEL).read(raw)
    assert (found.credential, found.route.scopes) == (None, {"models:?:generate"})


def test_two_models_have_two_routes():
    """Routes are remembered by their model, so no request gets the route of another model."""
    one = extractor(rules=BY_MODEL)
    models = ("a", "b", "a")
    asked_for = [check_request(path="/chat", model=model).SerializeToString() for model in models]
    found = [one.read(raw).route for raw in asked_for]
    assert [route.model for route in found] == list(models)
    assert found[0] is found[2]
