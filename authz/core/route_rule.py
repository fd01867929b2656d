"""One rule of the routes: who it is for, and the facts that it gives for a path."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from authz.core import fields
from authz.core.budgets.spending import is_model
from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.limits.limit import parse_cost
from authz.core.methods import NAMED_METHOD
from authz.core.route_facts import Facts, Refusal
from authz.core.templates import VARIABLE, Template

# Stands in a required scope for text that is no part of a scope. No key holds a scope with it, so
# only a wildcard in front of it, such as `models:*`, is enough.
UNNAMEABLE: Final = "?"

MODEL: Final = "model"  # the variable that the body of a request gives if the path has none


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. No host is any host, no methods are any method.

    cost_variable: the variable whose text is the cost, or empty. uses_variables: the scopes or
    the cost depend on the request. uses_model: they depend on its model.
    """

    host: str
    methods: frozenset[str]
    template: Template
    facts: Facts
    cost_variable: str
    uses_variables: bool
    uses_model: bool

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
        scope, and for a variable that the template lacks or has more than once. `{model}` in a
        scope may be lacking: then it is the model that the body of a request asks for.
        """
        for method in methods:
            if not NAMED_METHOD.fullmatch(method):
                raise BadInput(field, f"{shown(method)} is not a method, such as POST")
        known_host = fields.hosts(field, [host])[0] if host else ""
        template = Template.parse(field, path, ignore_case=ignore_case)
        covered = frozenset(methods) | ({"HEAD"} if "GET" in methods else frozenset())
        used = {name for scope in facts.scopes or () for name in VARIABLE.findall(scope)}
        if facts.spending is not None and facts.spending.model_variable:
            used.add(MODEL)
        in_body = {MODEL} - template.variables
        template.require_each_once(field, (used - in_body) | ({cost_variable} - {""}))
        fields.scopes(field, [VARIABLE.sub("x", scope) for scope in facts.scopes or ()])
        has_variables = bool(used or cost_variable)
        return cls(
            known_host, covered, template, facts, cost_variable, has_variables, MODEL in used
        )

    @property
    def reads_model(self) -> bool:
        """True if the rule takes the model from the body of a request."""
        return self.uses_model and MODEL not in self.template.variables

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

    def facts_for(self, segments: Sequence[str], model: str = "") -> Facts | Refusal:
        """Return the facts for a path that the template matches, with its variables filled in.

        segments: of the path, decoded, with the case of their letters. model: that the body asks
        for, if it is known; a variable of the template comes first.
        A refusal has the facts of this rule: AMBIGUOUS_PATH if a variable can be read in two ways,
        BAD_REQUEST if the text of `cost_variable` is no cost from 1 to 1000000.
        """
        if not self.uses_variables:
            return self.facts
        values = self.template.values(segments)
        if values is None:
            return Refusal(Reason.AMBIGUOUS_PATH, self.facts)
        if self.uses_model:
            model = values.setdefault(MODEL, model)
            model = model if is_model(model) else ""
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
        return replace(self.facts, scopes=scopes, cost=cost, model=model if self.uses_model else "")


def hidden_rules(rules: Sequence[Rule]) -> list[tuple[int, int]]:
    """Return the index of each hidden rule, with that of the first rule before it that hides it.

    Rules with the same facts and cost variable do not hide each other; labels do not count.
    """
    found = []
    for at, rule in enumerate(rules):
        for before in range(at):
            earlier = rules[before]
            differs = (earlier.facts, earlier.cost_variable) != (rule.facts, rule.cost_variable)
            if differs and earlier.hides(rule):
                found.append((at, before))
                break
    return found


def _filled(scope: str, values: Mapping[str, str]) -> str:
    """Return the scope with its variables filled in. Text that is no scope part becomes UNNAMEABLE.

    A scope that would have more than 256 characters becomes UNNAMEABLE as a whole.
    """

    def text(name: str) -> str:
        value = values[name]
        return value if fields.is_part_of_scope(value) else UNNAMEABLE

    filled = VARIABLE.sub(lambda match: text(match[1]), scope)
    return filled if len(filled) <= fields.MAX_TEXT else UNNAMEABLE
