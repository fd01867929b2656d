"""Routes of our own settings: requirements by host, method and path template.

For meshes that cannot say it per route (context_extensions). Rules are tried in order and the first
that matches decides. A final slash makes no difference.

A rule must hold for every spelling that a backend reads as the same request:

1. A path with two readings is refused (see core/paths.py).
2. Templates are compared with the decoded path. Some backends do not decode literals, so that a
   later rule may be theirs: `/v1/a%3Arun` is `/v1/{name}:run` to one and `/v1/{name}` to another.
   So may `/v1/:run` be, whose variable is empty. Then both rules hold together.
3. A rule for GET is one for HEAD, which frameworks give to the same handler.
4. `*` and the missing path of CONNECT are matched by `/**` alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from authz.core import fields
from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.fields import shown, split_host
from authz.core.limits.limit import parse_cost
from authz.core.paths import Path, is_folded_by_some, read_path, without_case, without_suffix
from authz.core.route_index import RouteIndex
from authz.core.templates import VARIABLE, Template

MAX_RULES: Final = 1000
MAX_WORK: Final = 16_000  # of comparing one path with the templates, in units of RouteIndex
MAX_JOINED: Final = 16  # rules that hold together for the readings of one path
MAX_SEARCHED: Final = 1024  # characters of a segment, if a rule has two variables in one
MAX_LABEL: Final = 128  # characters of a path that names its rule
MAX_NAMES: Final = 200  # of names that are none of ours, in characters
# Stands in a required scope for text that is no part of a scope. No key holds a scope with it, so
# only a wildcard in front of it, such as `models:*`, is enough.
UNNAMEABLE: Final = "?"

# The token of RFC 9110, section 5.6.2, in upper case.
_METHOD: Final = re.compile(r"[A-Z][A-Z0-9!#$%&'*+.^_`|~-]{0,31}", re.ASCII)
# Headers by which a client names another method; some frameworks then run its handler.
METHOD_OVERRIDES: Final = ("x-http-method-override", "x-http-method", "x-method-override")
# A method that our own settings, commands and log lines may name.
NAMED_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Facts:
    """The requirements of a rule or a route. None: the rule or route does not say.

    In the scopes of a rule `{name}` stands for a variable of its template. label: names the rule in
    usage records. It requires nothing, so rules that differ only in it are equal.
    """

    scopes: frozenset[str] | None = None
    optional: bool | None = None
    env: str | None = None
    cost: int | None = None
    enforce: bool | None = None
    label: str = field(default="", compare=False)


NO_FACTS: Final = Facts()
FACT_NAMES: Final = ("scopes", "auth", "env", "cost", "enforce")  # of a proxy's route
FACTS: Final = frozenset(FACT_NAMES)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason to refuse a request. facts: of the rules that it met; None if that is unknown.

    Only their `enforce` counts.
    """

    reason: Reason
    facts: Facts | None = None


def facts(extensions: Mapping[str, str]) -> Facts:
    """Parse context_extensions: the facts that a proxy gives for a route. Absent or empty is None.

    Raises BadInput for a wrong value, and for a name that is not in FACTS. Such a name, for example
    `scope`, is a mistake and may have been a restriction.
    """
    if strange := sorted(extensions.keys() - FACTS):
        names = " ".join(map(shown, strange))
        raise BadInput(names[:MAX_NAMES], f"there are {' '.join(sorted(FACTS))}")
    auth, env, cost = extensions.get("auth"), extensions.get("env"), extensions.get("cost")
    if auth not in {None, "", "required", "optional"}:
        raise BadInput("auth", f"{shown(auth)}: required or optional")
    enforce = extensions.get("enforce")
    if enforce not in {None, "", "true", "false"}:
        raise BadInput("enforce", f"{shown(enforce)}: true or false")
    scopes = extensions.get("scopes", "").split()
    return Facts(
        scopes=fields.scopes("scopes", scopes) if extensions.get("scopes") else None,
        optional=auth == "optional" if auth else None,
        env=fields.environment("env", env) if env else None,
        cost=parse_cost("cost", cost) if cost else None,
        enforce=enforce == "true" if enforce else None,
    )


def is_method(text: str) -> bool:
    """Return whether `text` is a method in upper case, as RFC 9110 registers them.

    At most 32 characters. Methods are case-sensitive, and many frameworks run the handler of DELETE
    for `delete`.
    """
    return _METHOD.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. No host is any host, no methods are any method.

    cost_variable: the variable whose text is the cost, or empty. uses_variables: the scopes or
    the cost depend on the path.
    """

    host: str
    methods: frozenset[str]
    template: Template
    facts: Facts
    cost_variable: str
    uses_variables: bool

    @classmethod
    def parse(
        cls,
        field: str,
        path: str,
        host: str,
        methods: Sequence[str],
        facts: Facts,
        *,
        cost_variable: str = "",
        ignore_case: bool = False,
    ) -> "Rule":
        """Parse a rule of the settings. Empty `host` and `methods` match any. GET covers HEAD too.

        `field` names the rule in errors. Raises BadInput for a bad method, host, path template or
        scope, and for a variable that the template lacks or has more than once.
        """
        for method in methods:
            if not NAMED_METHOD.fullmatch(method):
                raise BadInput(field, f"{shown(method)} is not a method, such as POST")
        known_host = fields.hosts(field, [host])[0] if host else ""
        template = Template.parse(field, path, ignore_case=ignore_case)
        covered = frozenset(methods) | ({"HEAD"} if "GET" in methods else frozenset())
        used = {name for scope in facts.scopes or () for name in VARIABLE.findall(scope)}
        used |= {cost_variable} - {""}
        template.require_each_once(field, used)
        fields.scopes(field, [VARIABLE.sub("x", scope) for scope in facts.scopes or ()])
        return cls(known_host, covered, template, facts, cost_variable, bool(used))

    def is_for(self, method: str, host: str) -> bool:
        """Return whether the rule applies to this method and host.

        Methods are compared with their case. `host`: in lower case, without a port.
        """
        if self.methods and method not in self.methods:
            return False
        return not self.host or fields.host_matches(self.host, host)

    def hides(self, later: "Rule") -> bool:
        """Return whether this rule matches every request that `later` matches.

        Hosts, methods and templates are compared.
        """
        return (
            (not self.methods or (bool(later.methods) and later.methods <= self.methods))
            and (not self.host or fields.host_matches(self.host, later.host))
            and self.template.covers(later.template)
        )

    def facts_for(self, segments: Sequence[str]) -> Facts | Refusal:
        """Return the facts for a path that the template matches, with its variables filled in.

        A refusal has the facts of this rule: AMBIGUOUS_PATH if a variable can be read in two ways,
        BAD_REQUEST if the text of `cost_variable` is no cost from 1 to 1000000.
        """
        if not self.uses_variables:
            return self.facts
        values = self.template.values(segments)
        if values is None:
            return Refusal(Reason.AMBIGUOUS_PATH, self.facts)
        scopes, cost = self.facts.scopes, self.facts.cost
        if scopes is not None:
            scopes = frozenset(_filled(scope, values) for scope in scopes)
        if self.cost_variable:
            try:
                cost = parse_cost("", values[self.cost_variable])
            except BadInput:
                cost = 0
            if cost == 0:  # a client must not say that its request is free
                return Refusal(Reason.BAD_REQUEST, self.facts)
        return replace(self.facts, scopes=scopes, cost=cost)


_Known = tuple[dict[int, bool], dict[int, bool]]  # of a path with its suffix, and without
_METHODS_WITHOUT_PATH: Final = {"*": "OPTIONS", "": "CONNECT"}
_AMBIGUOUS: Final = Refusal(Reason.AMBIGUOUS_PATH)
_NOT_ALLOWED: Final = Refusal(Reason.ROUTE_NOT_ALLOWED)


class RouteTable:
    """The rules, in order.

    deny_unmatched: refuse a request that no rule matches. ignore_case: ignore the case of letters
    in paths, for backends that do so; the rules were parsed with the same value. drop_suffix: a
    path is also read without a format and without dots and blanks at the ends of its segments. env:
    the environment if a rule names none.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        deny_unmatched: bool = False,
        ignore_case: bool = False,
        drop_suffix: bool = False,
        env: str | None = None,
    ) -> None:
        self._env = env
        self._drops_suffix = drop_suffix
        self._deny_unmatched = deny_unmatched
        self._ignore_case = ignore_case
        self._rules = tuple(rules)
        self._index = RouteIndex([rule.template for rule in rules])
        if self._index.work > MAX_WORK:
            problem = "one path could match too many templates with variables"
            raise BadInput("routes", f"{problem}; give their first segments different literals")
        self._find = self._index.find
        self._everywhere = [
            rule for rule in rules if rule.template.below and not rule.template.decoded
        ]
        self._searches = any(rule.template.searches for rule in rules)
        self.has_methods = any(rule.methods for rule in rules)
        self.has_enforced = any(rule.facts.enforce for rule in rules)

    def require(self, method: str, authority: str, path: str) -> Facts | Refusal:
        """Return the facts of the first matching rule, or a refusal.

        If no rule matches: NO_FACTS, or ROUTE_NOT_ALLOWED if `deny_unmatched` is set.
        AMBIGUOUS_PATH if the path is not canonical or its readings lead to rules that cannot hold
        together. BAD_REQUEST if the cost in the path is wrong. If a path has several readings, the
        facts of their rules are joined, the strictest each; AMBIGUOUS_PATH above MAX_JOINED (16)
        rules. `path` may have its query, which no rule looks at.
        """
        return self._require(method, authority, path, ({}, {}))

    def require_all(
        self, methods: Sequence[str], authority: str, path: str
    ) -> list[Facts | Refusal]:
        """Return for each method what `require` does. The path is compared with each rule once."""
        known: _Known = ({}, {})
        return [self._require(method, authority, path, known) for method in methods]

    def _require(self, method: str, authority: str, path: str, known: "_Known") -> Facts | Refusal:
        """Do what `require` does. known: by position, whether a template matches; grows."""
        bare = path.partition("?")[0]
        host = split_host(authority)
        if _METHODS_WITHOUT_PATH.get(bare) == method:
            rules = [r.facts for r in self._everywhere if r.is_for(method, host)][:1]
            return self._joined(rules, unmatched=not rules)
        found = self._read(bare)
        if found is None:
            return _AMBIGUOUS
        asked: list[Facts] = []
        outcome = self._ask(asked, method, host, found, known[0])
        if self._drops_suffix and not isinstance(outcome, Refusal):
            other = Path(*map(without_suffix, found[0])), without_suffix(found[1])
            if "" in other[1]:
                return _AMBIGUOUS
            if other[1] != found[1]:
                also = self._ask(asked, method, host, other, known[1])
                outcome = also if isinstance(also, Refusal) else also and outcome
        if isinstance(outcome, Refusal):
            return outcome
        return self._joined(asked, unmatched=not outcome)

    def _ask(
        self,
        asked: list[Facts],
        method: str,
        host: str,
        found: tuple[Path, Sequence[str]],
        known: dict[int, bool],
    ) -> bool | Refusal:
        """Add to `asked` the facts of the rules for a path, up to one for all its readings.

        Return whether there is such a rule, or a refusal. found: the path as `_read` returns it.
        """
        read, segments = found
        for at in self._find(read.decoded):
            rule = self._rules[at]
            if not rule.is_for(method, host):
                continue
            if at not in known:
                known[at] = rule.template.matches(read.decoded)
            if not known[at]:
                continue
            required = rule.facts_for(segments)
            if not isinstance(required, Facts):
                return required
            asked.append(required)
            if len(asked) > MAX_JOINED:
                return _ambiguous(asked)
            if rule.template.matches_in_every_reading(read):
                return True
        return False

    def _read(self, bare: str) -> tuple[Path, Sequence[str]] | None:
        """Return a path as templates are compared with it, and its segments with their case.

        None if it has several readings, or a segment over MAX_SEARCHED (1024) characters where
        templates search for text.
        """
        read = read_path(bare)
        if read is None:
            return None
        segments = read.decoded
        if (
            self._searches
            and len(bare) > MAX_SEARCHED
            and len(max(segments, key=len)) > MAX_SEARCHED
        ):
            return None
        if self._ignore_case:
            if is_folded_by_some("".join(segments)):
                return None
            folded = list(map(without_case, segments))
            written = folded if read.written is segments else map(without_case, read.written)
            read = read._replace(decoded=folded, written=list(written))
        return read, segments

    def _joined(self, asked: list[Facts], *, unmatched: bool) -> Facts | Refusal:
        """Return the facts `asked`, joined, the strictest each.

        unmatched: in some reading no rule matches the path. Then, if `deny_unmatched` is set:
        AMBIGUOUS_PATH, or ROUTE_NOT_ALLOWED if `asked` is empty. AMBIGUOUS_PATH also if two rules
        name different environments.
        """
        if unmatched:
            if self._deny_unmatched:
                return _ambiguous(asked) if asked else _NOT_ALLOWED
            asked = [*asked, NO_FACTS]
        first, *others = asked
        if not any(other != first for other in others):
            return first
        environments = {each.env or self._env for each in asked} - {None}
        if len(environments) > 1:
            return _ambiguous(asked)
        costs = [1 if each.cost is None else each.cost for each in asked]
        return Facts(
            scopes=frozenset().union(*(each.scopes or () for each in asked)),
            optional=all(each.optional for each in asked),
            env=next(iter(environments), None),
            cost=max(costs),
            enforce=strictest([each.enforce for each in asked]),
            label=first.label,
        )


def hidden_rule(rules: Sequence[Rule]) -> tuple[int, int] | None:
    """Return the indexes of the first rule that an earlier, different rule hides, and of that.

    None if no rule is hidden. Rules with the same facts and cost variable do not differ.
    """
    for at, rule in enumerate(rules):
        for before in range(at):
            earlier = rules[before]
            differs = (earlier.facts, earlier.cost_variable) != (rule.facts, rule.cost_variable)
            if differs and earlier.hides(rule):
                return at, before
    return None


def _filled(scope: str, values: Mapping[str, str]) -> str:
    """Return the scope with its variables filled in. Text that is no scope part becomes UNNAMEABLE.

    A scope that would have more than 256 characters becomes UNNAMEABLE as a whole.
    """

    def text(name: str) -> str:
        value = values[name]
        return value if fields.is_part_of_scope(value) else UNNAMEABLE

    filled = VARIABLE.sub(lambda match: text(match[1]), scope)
    return filled if len(filled) <= fields.MAX_TEXT else UNNAMEABLE


def _ambiguous(asked: Sequence[Facts]) -> Refusal:
    """Return AMBIGUOUS_PATH of these rules; their strictest `enforce` counts."""
    enforce = strictest([each.enforce for each in asked])
    return Refusal(Reason.AMBIGUOUS_PATH, Facts(enforce=enforce))


def strictest(enforced: Sequence[bool | None]) -> bool | None:
    """Return True if any rule enforces refusals, None if any rule does not say, else False."""
    if True in enforced:
        return True
    return None if None in enforced else False
