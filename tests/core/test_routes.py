"""Rules of our own settings: templates, methods, hosts, order, and paths with two readings."""

import posixpath
import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.methods import is_method
from authz.core.paths import is_canonical, read_path
from authz.core.route_facts import NO_FACTS, Facts, Refusal
from authz.core.route_index import RouteIndex
from authz.core.route_rule import UNNAMEABLE, Rule, hidden_rules
from authz.core.routes import RouteTable
from authz.core.templates import MAX_BETWEEN, MAX_TEMPLATE, Template

A, B = Facts(scopes=frozenset({"a:x"})), Facts(optional=True, env="live")


def matched(template: str, path: str) -> bool:
    """Does a template match a path as most backends read it?"""
    read = read_path(path)
    return read is not None and rule(template).template.matches(read.decoded)


def rule(path: str, host: str = "", methods: tuple[str, ...] = (), facts: Facts = A) -> Rule:
    """A rule as the settings would make it."""
    return Rule.parse("routes", path, host, methods, facts)


@pytest.mark.parametrize(
    ("template", "matching", "others"),
    [
        ("/", ["/"], ["/a", ""]),
        ("/v1", ["/v1", "/v1/"], ["/v1/a", "/v10", "/V1", "/"]),
        ("/v1/", ["/v1", "/v1/"], ["/v1/a"]),
        ("/v1/{id}", ["/v1/7", "/v1/a:b", "/v1/7/"], ["/v1", "/v1/", "/v1/7/8"]),
        (
            "/v1/models/{model}:generateContent",
            ["/v1/models/gemini-pro:generateContent"],
            ["/v1/models/a/b:generateContent", "/v1/models/a"],
        ),
        ("/v1/{a}/b/{c_2}", ["/v1/x/b/y"], ["/v1/x/c/y", "/v1//b/y"]),
        ("/files/**", ["/files", "/files/", "/files/a", "/files/a/b"], ["/file", "/filesa"]),
        ("/**", ["/", "/a", "/a/b/"], [""]),
        ("/a.b", ["/a.b"], ["/axb"]),
        ("/a+(b)", ["/a+(b)"], ["/aa(b)"]),
        ("/sp%20ace", ["/sp%20ace"], ["/sp ace"]),
        ("/m/{m}:run", ["/m/a:run", "/m/a%3Arun", "/m/a%3arun", "/m/:::run"], ["/m/a"]),
        ("/{a}-{b}-{c}", ["/1-2-3", "/1-2-3-4", "/-----"], ["/1-2", "/-"]),
        ("/{a}ab{b}", ["/1ab2", "/abababab"], ["/ba", "/a"]),
        ("/caf%C3%A9", ["/caf%C3%A9", "/caf%c3%a9"], ["/cafe", "/caf%E9"]),
    ],
)
def test_templates(template: str, matching: list[str], others: list[str]) -> None:
    """A template matches whole paths, a variable a part of one segment."""
    assert [path for path in matching if not matched(template, path)] == []
    assert [path for path in others if matched(template, path)] == []


@pytest.mark.parametrize(
    "template",
    [
        *("", "v1", "*", "//", "/a//b", "/a/../b", "/./a", "/a%2fb", "/a%2Fb", "/a%61", "/a%"),
        *("/{a}{b}", "/{A}", "/{", "/{a", "/a}", "/{}", "/a/**/b", "/**/", "/a**", "/a b", "/é"),
        *("/a?b", "/a#b", "/a;b", "/a\\b", "/a\n", "/" + "a" * MAX_TEMPLATE),
        *("/a%3Bb", "/a%2561", "/a%FF", "/a%C0%AF"),
    ],
)
def test_templates_that_are_refused(template: str) -> None:
    """A template that could not match a canonical path, or not be understood, is an error."""
    with pytest.raises(BadInput, match="is not a path template, such as /v1/"):
        rule(template)


def test_a_long_text_between_two_variables_is_refused() -> None:
    """Searching for it takes its length times the length of the path."""
    rule(f"/{{a}}{'x' * MAX_BETWEEN}{{b}}")
    with pytest.raises(BadInput, match="at most 64 characters between two variables"):
        rule(f"/{{a}}{'x' * (MAX_BETWEEN + 1)}{{b}}")


@pytest.mark.parametrize("method", ["get", "", "G T", "GET,POST", "G\n", "*"])
def test_methods_that_are_refused(method: str) -> None:
    """Methods are tokens in upper case, as RFC 9110 compares them."""
    with pytest.raises(BadInput, match="is not a method, such as POST"):
        rule("/", methods=(method,))


def test_the_first_rule_that_applies_decides() -> None:
    """Order is the whole of precedence."""
    table = RouteTable([rule("/a", facts=A), rule("/**", facts=B)])

    assert table.require("GET", "h", "/a") is A
    assert table.require("GET", "h", "/b") is B
    assert RouteTable([rule("/**", facts=B), rule("/a", facts=A)]).require("GET", "h", "/a") is B


def test_what_no_rule_applies_to_asks_for_nothing_or_is_refused() -> None:
    """By default any good key opens it; routes_default: deny refuses it."""
    open_table, closed = (RouteTable([rule("/a")], deny_unmatched=deny) for deny in (False, True))

    assert open_table.require("GET", "h", "/b") == Facts()
    assert closed.require("GET", "h", "/b") == Refusal(Reason.ROUTE_NOT_ALLOWED)
    assert closed.require("GET", "h", "/a?b=//..") is A


def test_a_path_with_two_readings_is_refused_whatever_the_rules() -> None:
    """Also where a rule for everything would match; the query is not a part of the path."""
    table = RouteTable([rule("/**")])

    assert table.require("GET", "h", "/a/../b") == Refusal(Reason.AMBIGUOUS_PATH)
    assert table.require("GET", "h", "") == Refusal(Reason.AMBIGUOUS_PATH)
    assert table.require("GET", "h", "*") == Refusal(Reason.AMBIGUOUS_PATH)
    assert table.require("GET", "h", "/a?x=/../") is A


@pytest.mark.parametrize(("method", "path"), [("CONNECT", ""), ("OPTIONS", "*")])
def test_a_target_that_is_no_path_is_matched_by_everything_alone(method: str, path: str) -> None:
    """CONNECT without a path and `OPTIONS *` are decided by `/**`, else as unmatched."""
    everywhere = RouteTable([rule("/", facts=B), rule("/x/**", facts=B), rule("/**")])

    assert everywhere.require(method, "h", path) is A
    assert RouteTable([rule("/")]).require(method, "h", path) is NO_FACTS
    closed = RouteTable([rule("/")], deny_unmatched=True)
    assert closed.require(method, "h", path) == Refusal(Reason.ROUTE_NOT_ALLOWED)
    other = RouteTable([rule("/**", methods=("GET",))])
    assert other.require(method, "h", path) is NO_FACTS


def test_a_rule_for_get_is_one_for_head() -> None:
    """Frameworks give HEAD to the handler of GET; a rule for HEAD alone may stand before it."""
    table = RouteTable([rule("/a", methods=("GET",))])

    assert table.require("HEAD", "h", "/a") is A
    assert table.require("OPTIONS", "h", "/a") is NO_FACTS
    both = RouteTable([rule("/a", methods=("HEAD",), facts=B), rule("/a", methods=("GET",))])
    assert (both.require("HEAD", "h", "/a"), both.require("GET", "h", "/a")) == (B, A)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(True, True, True), (True, None, False), (None, True, False), (True, False, False)],
)
def test_publishable_keys_need_the_mark_in_each_reading(first, second, expected) -> None:
    """A path that a backend may read as another one is marked only if both rules are."""
    rules = [
        Rule.parse("routes", "/m/{name}:run", "", (), Facts(scopes=frozenset({"a"}), public=first)),
        Rule.parse("routes", "/m/{name}", "", (), Facts(public=second)),
    ]
    found = RouteTable(rules).require("GET", "h", "/m/a%3Arun")

    assert bool(found.public) is expected


def test_rules_of_both_readings_hold_together() -> None:
    """Where a backend may not decode a literal, the next rule may be the one of its handler."""
    run, plain = Facts(frozenset({"run"}), True, cost=5), Facts(frozenset({"plain"}), False)
    table = RouteTable([rule("/m/{m}:run", facts=run), rule("/m/{m}", facts=plain)])

    assert table.require("GET", "h", "/m/a:run") is run
    assert table.require("GET", "h", "/m/a") is plain
    both = Facts(frozenset({"run", "plain"}), optional=False, env=None, cost=5)
    assert table.require("GET", "h", "/m/a%3Arun") == both
    assert table.require("GET", "h", "/m/:run") == both  # a variable is empty to some
    assert table.require("GET", "h", "/m/a%40b:run") is run  # the variable's, in each reading
    alone = RouteTable([rule("/m/{m}:run", facts=run)])
    assert alone.require("GET", "h", "/m/a%3Arun") == Facts(frozenset({"run"}), False, None, 5)
    closed = RouteTable([rule("/m/{m}:run", facts=run)], deny_unmatched=True)
    assert closed.require("GET", "h", "/m/a%3Arun") == Refusal(Reason.AMBIGUOUS_PATH, Facts())


@pytest.mark.parametrize(
    ("first", "second", "default", "found"),
    [
        ("live", "live", None, "live"),
        ("live", None, None, "live"),
        ("live", None, "live", "live"),
        ("live", None, "test", Reason.AMBIGUOUS_PATH),
        ("live", "test", None, Reason.AMBIGUOUS_PATH),
    ],
)
def test_one_request_is_not_in_two_environments(first, second, default, found) -> None:
    """Two rules that hold together may not ask for keys of different environments."""
    rules = [rule("/{m}:run", facts=Facts(env=first)), rule("/{m}", facts=Facts(env=second))]
    asked = RouteTable(rules, env=default).require("GET", "h", "/a%3Arun")
    assert (asked.env if isinstance(asked, Facts) else asked.reason) == found


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [(True, False, True), (None, True, True), (None, False, None), (False, False, False)],
)
def test_refusals_are_enforced_if_one_rule_enforces_them(first, second, found) -> None:
    """Report-only holds where each of the rules says so."""
    rules = [
        rule("/{m}:run", facts=Facts(enforce=first, cost=2)),
        rule("/{m}", facts=Facts(enforce=second)),
    ]
    assert RouteTable(rules).require("GET", "h", "/a%3Arun").enforce is found


SCOPED = Facts(frozenset({"models:{model}:generate", "any"}))


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/m/gemini-pro:run", "models:gemini-pro:generate"),
        ("/m/a%40b:run", "models:a@b:generate"),
        ("/m/*:run", f"models:{UNNAMEABLE}:generate"),
        ("/m/%2A:run", f"models:{UNNAMEABLE}:generate"),
        ("/m/a:b:run", f"models:{UNNAMEABLE}:generate"),
        ("/m/a,b:run", f"models:{UNNAMEABLE}:generate"),
        ("/m/%C3%A9:run", f"models:{UNNAMEABLE}:generate"),
        ("/m/:run", f"models:{UNNAMEABLE}:generate"),
        (f"/m/{'a' * 129}:run", f"models:{UNNAMEABLE}:generate"),
    ],
)
def test_variables_stand_in_scopes(path: str, scope: str) -> None:
    """The text of a variable is one part of a scope, or no key can hold the scope by its name."""
    table = RouteTable([rule("/m/{model}:run", facts=SCOPED)])

    assert table.require("GET", "h", path).scopes == {scope, "any"}


@pytest.mark.parametrize(
    ("model", "scope"),
    [
        ("gpt-4o", "models:gpt-4o:generate"),
        ("", f"models:{UNNAMEABLE}:generate"),
        ("*", f"models:{UNNAMEABLE}:generate"),
        ("llama3:8b", f"models:{UNNAMEABLE}:generate"),
        ("a b", f"models:{UNNAMEABLE}:generate"),
    ],
)
def test_a_model_of_the_body_stands_in_scopes(model: str, scope: str) -> None:
    """If the path has no `{model}`, the body's stands for it; else the one of the path does."""
    table = RouteTable([rule("/chat", facts=SCOPED), rule("/m/{model}:run", facts=SCOPED)])

    found = table.require("POST", "h", "/chat", model)
    assert found.scopes == {scope, "any"}
    assert found.model == ("" if model in {"*", "a b"} else model)
    found = table.require("POST", "h", "/m/own:run", model)
    assert (found.scopes, found.model) == ({"models:own:generate", "any"}, "own")
    assert table.reads_model


def test_only_a_rule_that_needs_a_model_has_one() -> None:
    """Without `{model}` in its scopes a rule neither reads the body's model nor names one."""
    table = RouteTable([rule("/a", facts=A), rule("/m/{model}", facts=A)])

    assert not table.reads_model
    assert table.require("POST", "h", "/a", "gpt-4o") is A
    assert not RouteTable([rule("/m/{model}", facts=SCOPED)]).reads_model


def test_rules_that_hold_together_have_a_model_if_they_agree() -> None:
    """A path with two readings has a model only if both rules find the same one."""
    table = RouteTable([rule("/m/{model}:run", facts=SCOPED), rule("/m/{name}", facts=SCOPED)])

    assert table.require("POST", "h", "/m/a%3Arun", "a").model == "a"
    found = table.require("POST", "h", "/m/a%3Arun", "b")
    assert (found.model, found.scopes) == ("", {"models:a:generate", "models:b:generate", "any"})


def test_a_cost_cannot_be_the_model_of_the_body() -> None:
    """Only the path gives costs; a template without the variable is refused."""
    with pytest.raises(BadInput):
        Rule.parse("routes", "/chat", "", (), Facts(), cost_variable="model")


def test_a_text_that_can_be_divided_in_two_ways_has_no_scope() -> None:
    """Backends divide it in different ways, so the path is ambiguous."""
    facts = Facts(frozenset({"x:{a}"}))
    table = RouteTable([rule("/{a}:{b}", facts=facts)])

    assert table.require("GET", "h", "/1:2").scopes == {"x:1"}
    assert table.require("GET", "h", "/1:2:3") == Refusal(Reason.AMBIGUOUS_PATH, facts)
    assert table.require("GET", "h", "/::::") == Refusal(Reason.AMBIGUOUS_PATH, facts)


@pytest.mark.parametrize(
    ("text", "found"),
    [("7", 7), ("1000000", 1_000_000), *((bad, None) for bad in ("0", "07", "-1", "1000001", "x"))],
)
def test_a_variable_may_be_the_cost(text: str, found: int | None) -> None:
    """A client cannot say that its request is free, or of no cost that exists."""
    known = Rule.parse("routes", "/batch/{n}", "", (), Facts(), cost_variable="n")
    asked = RouteTable([known]).require("GET", "h", f"/batch/{text}")
    refused = Refusal(Reason.BAD_REQUEST, known.facts)
    assert asked == (refused if found is None else Facts(cost=found))


@pytest.mark.parametrize(
    ("path", "scope", "problem"),
    [
        ("/m/{model}", "m:{modle}", "the path has no variable {modle}"),
        ("/m/{a}/{a}", "m:{a}", "the path has {a} more than once"),
        ("/m/{a}", "m:{a}!", "is not a scope"),
        ("/m/{a}", "m:{A}", "is not a scope"),
    ],
)
def test_scopes_with_variables_that_are_refused(path: str, scope: str, problem: str) -> None:
    """A variable of a scope stands once in the template."""
    with pytest.raises(BadInput, match=re.escape(problem)):
        rule(path, facts=Facts(frozenset({scope})))


def test_a_cost_is_a_variable_of_the_template() -> None:
    """A name that the template lacks is refused."""
    with pytest.raises(BadInput, match=r"the path has no variable \{n\}"):
        Rule.parse("routes", "/a", "", (), Facts(), cost_variable="n")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/Admin/x", A),
        ("/ADMIN", A),
        ("/CAF%C3%A9", B),
        ("/caf%C3%89", Refusal(Reason.AMBIGUOUS_PATH)),
        ("/bac%E2%84%AAup", Refusal(Reason.AMBIGUOUS_PATH)),
        ("/%C5%BFecret", Refusal(Reason.AMBIGUOUS_PATH)),
    ],
)
def test_backends_that_ignore_case(path: str, found: Facts | Refusal) -> None:
    """Letters of ASCII are compared without their case; others that fold into them are refused."""
    paths = {"/admin/**": A, "/caf%C3%A9": B}
    rules = [Rule.parse("routes", p, "", (), f, ignore_case=True) for p, f in paths.items()]
    assert RouteTable(rules, ignore_case=True).require("GET", "h", path) == found


def test_a_table_of_too_much_work_is_refused() -> None:
    """One path could be compared with each variable of each rule."""
    deep = "/{a}" * 100 + "/x{b}"
    rules = [rule(f"{deep}{n}", facts=A) for n in range(40)]
    with pytest.raises(BadInput, match="too many templates with variables"):
        RouteTable(rules)
    RouteTable([rule(f"/v{n}{deep}", facts=A) for n in range(40)])


def test_many_rules_that_hold_together_are_ambiguous() -> None:
    """A path whose readings meet more rules than MAX_JOINED is refused."""
    rules = [rule("/{m}:run", facts=Facts(cost=2)) for _ in range(17)]
    assert RouteTable(rules[1:]).require("GET", "h", "/a%3Arun") == Facts(
        frozenset(), optional=False, cost=2
    )
    assert RouteTable(rules).require("GET", "h", "/a%3Arun").reason is Reason.AMBIGUOUS_PATH


LITERALS = st.sampled_from(["a", "b"])
PARTS = st.one_of(LITERALS, st.sampled_from(["{v}", "a{v}", "{v}:{w}"]))
TEMPLATES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


@given(
    templates=st.lists(st.tuples(TEMPLATES, st.booleans()), min_size=1, max_size=60),
    segments=st.lists(st.sampled_from(["a", "b", "ab", "a:b", ""]), max_size=5),
)
def test_the_index_leaves_out_no_rule_that_matches(templates, segments) -> None:
    """The index finds every template that matches, in order, however many share a beginning."""
    made = [Template.parse("", f"/{text}{'/**' * below}") for text, below in templates]
    found = RouteIndex(made).find(segments)
    assert found == sorted(set(found))
    assert {at for at, each in enumerate(made) if each.matches(segments)} <= set(found)


@given(
    st.lists(st.tuples(TEMPLATES, st.sampled_from([(), ("GET",), ("PUT", "POST")])), max_size=20),
    st.lists(st.sampled_from(["GET", "HEAD", "PUT", "POST"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "ab", "a:b", "a%3Ab"]), max_size=5).map("/".join),
)
def test_several_methods_are_answered_as_each_alone(rules, methods, path) -> None:
    """To compare the path once changes no answer."""
    made = [
        Rule.parse("", f"/{text}", "", verbs, Facts(cost=2 + n % 3))
        for n, (text, verbs) in enumerate(rules)
    ]
    table = RouteTable(made, deny_unmatched=True)
    alone = [table.require(method, "h", f"/{path}") for method in methods]
    assert table.require_all(methods, "h", f"/{path}") == alone


SCOPES = {name: Facts(frozenset({name})) for name in ("admin", "json", "files", "below")}


@pytest.mark.parametrize(
    ("path", "scopes"),
    [
        ("/admin", {"admin"}),
        ("/admin.json", {"admin"}),
        ("/admin.", {"admin"}),
        ("/admin%20", {"admin"}),
        ("/admin..xml%20.", {"admin"}),
        ("/admin/", {"admin"}),
        ("/admin.json/", {"admin"}),
        ("/admin.toolongforaformat", {}),
        ("/admin.1", {}),
        ("/admin.tar.gz", {}),
        ("/.json", {}),
        ("/data.json", {"json"}),
        ("/files/a.png", {"files"}),
        ("/files/a.", {"files"}),
        ("/below./x", {"below"}),
        ("/below%20/x.json", {"below"}),
        ("/below/x/y. /z".replace(" ", "%20"), {"below"}),
        ("/admin.%6Ason", Reason.AMBIGUOUS_PATH),
        ("/below/%20/x", Reason.AMBIGUOUS_PATH),
        ("/below/.../x", Reason.AMBIGUOUS_PATH),
    ],
)
def test_backends_that_drop_a_suffix(path, scopes) -> None:
    """The rules with and without it hold together; the strictest of each requirement counts."""
    paths = {"/admin": "admin", "/data.json": "json", "/files/{f}": "files", "/below/**": "below"}
    rules = [rule(p, facts=SCOPES[name]) for p, name in paths.items()]
    asked = RouteTable(rules, drop_suffix=True).require("GET", "h", path)
    found = asked.reason if isinstance(asked, Refusal) else set(asked.scopes or ())
    assert found == (scopes or set())
    if path == "/admin.json":
        assert RouteTable(rules).require("GET", "h", path) is NO_FACTS


def test_a_suffix_opens_nothing() -> None:
    """A rule without a key holds only if it matches with the suffix and without."""
    free = Facts(optional=True)
    rules = [rule("/free", facts=free), rule("/both/**", facts=free)]
    table = RouteTable(rules, drop_suffix=True)
    assert table.require("GET", "h", "/free").optional
    assert not table.require("GET", "h", "/free.json").optional
    assert table.require("GET", "h", "/both/a.json").optional
    closed = RouteTable(rules, drop_suffix=True, deny_unmatched=True)
    assert closed.require("GET", "h", "/free.json").reason is Reason.AMBIGUOUS_PATH
    assert closed.require("GET", "h", "/no.json").reason is Reason.ROUTE_NOT_ALLOWED


def test_a_variable_keeps_its_case() -> None:
    """Only literals are compared without case."""
    facts = Facts(frozenset({"m:{m}"}))
    known = Rule.parse("routes", "/M/{m}:Run", "", (), facts, ignore_case=True)
    asked = RouteTable([known], ignore_case=True).require("GET", "h", "/m/Gemini:RUN")
    assert asked == Facts(frozenset({"m:Gemini"}))
    with pytest.raises(BadInput, match="letters outside ASCII in lower case"):
        Rule.parse("routes", "/caf%C3%89", "", (), A, ignore_case=True)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("/**",), ("/a",)),
        (("/a/{b}",), ("/a/b",)),
        (("/a/{b}",), ("/a/{c}:run",)),
        (("/{a}",), ("/{b}",)),
        (("/a/**",), ("/a/b/**",)),
        (("/a%3Ab",), ("/a:b",)),
        (("/a", "", ("GET",)), ("/a", "", ("HEAD",))),
        (("/a", "*.example.com"), ("/a", "api.example.com", ("GET",))),
        (("/a", "*.example.com"), ("/a", "*.b.example.com")),
    ],
)
def test_a_rule_that_never_applies_is_found(first, second) -> None:
    """A rule behind one that takes all its requests is hidden, unless both say the same."""
    assert hidden_rules([rule(*first), rule(*second, facts=B)]) == [(1, 0)]
    assert hidden_rules([rule(*first), rule(*second)]) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("/a",), ("/**",)),
        (("/a/b",), ("/a/{b}",)),
        (("/a/{c}:run",), ("/a/{b}",)),
        (("/a/{b}-{c}",), ("/a/{b}:{c}",)),
        (("/a", "", ("HEAD",)), ("/a", "", ("GET",))),
        (("/a", "", ("GET",)), ("/a",)),
        (("/a", "*.example.com"), ("/a", "example.com")),
        (("/a", "api.example.com"), ("/a",)),
        (("/a/**",), ("/b/**",)),
    ],
)
def test_a_rule_that_applies_to_something_is_not_hidden(first, second) -> None:
    """Order is precedence: the exception before the general rule."""
    assert hidden_rules([rule(*first), rule(*second, facts=B)]) == []


def reference(template: str) -> re.Pattern[str]:
    """A template as a regular expression, which may go back."""
    return re.compile("[^/]*".join(map(re.escape, re.split(r"\{[a-z]+\}", template))))


@given(
    st.lists(st.sampled_from(["a", "b", "ab", ":", "{v}", "{w}"]), min_size=1, max_size=7),
    st.text(alphabet="ab:", min_size=1, max_size=12),
)
def test_templates_match_as_a_regular_expression_would(parts: list[str], text: str) -> None:
    """Never going back finds the same matches."""
    template = "/" + "".join(parts)
    if "}{" not in template:
        assert matched(template, "/" + text) is bool(reference(template).fullmatch("/" + text))


@given(
    st.lists(st.sampled_from(["/a", "/ab", "/{v}", "/{v}:b", "/a{v}b{w}", "/a%3Ab"]), max_size=3),
    st.lists(st.sampled_from(["/a", "/ab", "/{v}", "/{v}:b", "/a{v}b{w}", "/a:b"]), max_size=3),
    st.lists(st.sampled_from(["/a", "/ab", "/x:b", "/axbx", "/a:b", "/abab:b"]), max_size=4),
    st.tuples(st.booleans(), st.booleans()),
)
def test_what_a_hidden_template_matches_the_other_matches(first, second, path, below) -> None:
    """`covers` promises that no path is left to the second template."""
    texts = [
        "".join(t) + ("/**" if b else "") or "/"
        for t, b in zip((first, second), below, strict=True)
    ]
    general, special = (rule(text).template for text in texts)
    segments = [segment[1:] for segment in path]
    if general.covers(special) and special.matches(segments):
        assert general.matches(segments)


def test_methods_and_hosts_narrow_a_rule() -> None:
    """No methods is any method, no host any host; ports and case of a host do not matter."""
    table = RouteTable(
        [rule("/a", methods=("POST", "PUT")), rule("/a", host="*.example.com", facts=B)]
    )

    assert table.require("POST", "other", "/a") is A
    assert table.require("GET", "api.EXAMPLE.com:8443", "/a") is B
    assert table.require("GET", "example.com", "/a") is NO_FACTS
    assert table.require("post", "other", "/a") is NO_FACTS


@pytest.mark.parametrize(
    "path",
    [
        *("", "*", "a", "//", "/a//b", "/a//", "/.", "/..", "/a/./b", "/a/../b", "/a/..", "/a/."),
        *(
            "/a\\b",
            "/a;x=1",
            "/a;/b",
            "/..;/b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%5Cb",
            "/%2e%2e/a",
        ),
        *("/%2E", "/%61dmin", "/a%7e", "/%30", "/a%", "/a%2", "/a%zz", "/a%00", "/a%0d", "/a%1F"),
        *("/a\x00", "/a b", "/a\t", "/é", "/a#b", "/a%7F", "/%5f", "/%2D"),
        *("/a%3Bb", "/a%3b", "/%252e", "/%252F", "/%25u002e", "/%C0%AF", "/%FF", "/%ED%A0%80"),
        *("http://h/a", "?a", "/a%C3"),
    ],
)
def test_paths_with_two_readings(path: str) -> None:
    """A path that a proxy and a backend could read differently is not canonical."""
    assert not is_canonical(path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/a",
        "/a/",
        "/a/b.c/d-e_f~g",
        "/a:b@c",
        "/a%20b",
        "/%C3%A9",
        "/...",
        "/.a",
        "/a,b",
        "/100%25",
        "/a%3Ab",
        "/C%23",
        "/a%3Fb",
        "/a+b",
        "/a%2Bb",
    ],
)
def test_paths_with_one_reading(path: str) -> None:
    """Ordinary paths, also with characters that need their encoding."""
    assert is_canonical(path)


def read_by_a_backend(path: str) -> str:
    """How a lenient backend may read a path: parameters cut, decoded, dots and slashes resolved."""
    bare = re.sub(r";[^/]*", "", path)
    decoded = unquote(bare, errors="replace").replace("\\", "/")
    return posixpath.normpath("/" + decoded.lstrip("/"))


@given(st.text(alphabet="/.a%2eEfF5cC;\\61dmin\x00", max_size=24).map(lambda text: "/" + text))
def test_no_spelling_gets_around_a_rule(path: str) -> None:
    """A path that a lenient backend reads as /admin is matched by the rule, or not canonical."""
    backend = read_by_a_backend(path)

    if backend == "/admin" or backend.startswith("/admin/"):
        assert matched("/admin/**", path) or not is_canonical(path)


@given(st.text(alphabet="ab/", min_size=1, max_size=30).map(lambda text: "/" + text))
def test_a_rule_for_a_path_matches_that_path(path: str) -> None:
    """Every canonical literal path is its own template."""
    if is_canonical(path):
        assert matched(path, path)


@pytest.mark.parametrize(
    ("most", "too_much"),
    [("/" + "a" * 8191, "/" + "a" * 8192), ("/a" * 256, "/a" * 257), ("/%20" * 256, "/%20" * 257)],
)
def test_a_path_that_takes_long_to_compare_is_refused(most, too_much):
    """The number of characters and of segments is bounded."""
    assert is_canonical(most)
    assert not is_canonical(too_much)


@pytest.mark.parametrize("text", ["GET", "M-SEARCH", "VERSION-CONTROL", "X" * 32])
def test_a_method_is_a_token_in_upper_case(text):
    """Registered methods and those of extensions are methods."""
    assert is_method(text)


@pytest.mark.parametrize(
    "text", ["", "get", "GET ", " GET", "GET\0", "GET\n", "G,H", "1", "X" * 33]
)
def test_a_text_that_is_no_token_is_no_method(text):
    """Backends strip blanks or stop at a NUL, and rules would not."""
    assert not is_method(text)


def test_an_escape_in_a_template_does_not_hide_the_rule_of_a_backend_that_compares_as_sent():
    """To such a backend `/a:b` is no `/a%3Ab`, so the later rule may be its own."""
    table = RouteTable([rule("/a%3Ab", facts=B), rule("/{v}", facts=A)])
    found = table.require("GET", "h", "/a:b")
    assert found == Facts(A.scopes, False, "live", 1)


def test_a_long_segment_is_refused_where_rules_search_it():
    """Each rule with two variables in one segment looks through it. Other rules take it."""
    path = "/x" + "a" * 1024
    searched = RouteTable([rule("/x{v}-{w}", facts=B), rule("/**", facts=A)])
    assert searched.require("GET", "h", path) == Refusal(Reason.AMBIGUOUS_PATH)
    assert searched.require("GET", "h", path[:-1]) == A
    assert searched.require("GET", "h", "/ab" * 500) == Refusal(Reason.AMBIGUOUS_PATH)
    assert searched.require("GET", "h", "/abcdefghi" * 200) == A
    assert RouteTable([rule("/x{v}", facts=A)]).require("GET", "h", path) == A


def test_a_label_names_the_rule_and_requires_nothing() -> None:
    """Rules that differ only in their label hold together; the first one names the request."""
    first, second = Facts(cost=2, label="run"), Facts(cost=2, label="any")
    rules = [rule("/{m}:run", facts=first), rule("/{m}", facts=second), rule("/b/{m}")]
    table = RouteTable(rules)
    for path, label in (("/a:run", "run"), ("/a%3Arun", "run"), ("/a", "any"), ("/b/a", "")):
        found = table.require("GET", "h", path)
        assert isinstance(found, Facts)
        assert found.label == label
    joined = RouteTable([rule("/{m}:run", facts=first), rule("/{m}", facts=B)])
    found = joined.require("GET", "h", "/a%3Arun")
    assert isinstance(found, Facts)
    assert (found.label, found.env) == ("run", "live")
    scopes = Facts(scopes=frozenset({"m:{m}"}), label="filled")
    found = RouteTable([rule("/{m}", facts=scopes)]).require("GET", "h", "/a")
    assert isinstance(found, Facts)
    assert found.label == "filled"
