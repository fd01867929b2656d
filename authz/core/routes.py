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

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.fields import split_host
from authz.core.paths import Path, is_folded_by_some, read_path, without_case, without_suffix
from authz.core.route_facts import NO_FACTS, Facts, Refusal, strictest
from authz.core.route_index import RouteIndex
from authz.core.route_rule import Rule

MAX_WORK: Final = 16_000  # of comparing one path with the templates, in units of RouteIndex
MAX_JOINED: Final = 16  # rules that hold together for the readings of one path
MAX_SEARCHED: Final = 1024  # characters of a segment, if a rule has two variables in one


_Known = tuple[dict[int, bool], dict[int, bool]]  # of a path with its suffix, and without
_METHODS_WITHOUT_PATH: Final = {"*": "OPTIONS", "": "CONNECT"}
_AMBIGUOUS: Final = Refusal(Reason.AMBIGUOUS_PATH)
_NOT_ALLOWED: Final = Refusal(Reason.ROUTE_NOT_ALLOWED)


class RouteTable:
    """The rules, in order.

    deny_unmatched: refuse a request that no rule matches. ignore_case: ignore the case of letters
    in paths, for backends that do so; the rules were parsed with the same value. drop_suffix: a
    path is also read without a format and without dots and blanks at the ends of its segments. env:
    the environment if a rule names none. has_methods: some rule names methods. has_enforced: some
    rule says that it enforces. reads_model: some rule takes the model from the body of a request.
    The constructor raises BadInput if the work of one path could exceed MAX_WORK.
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
        self.reads_model = any(rule.reads_model for rule in rules)

    def require(self, method: str, authority: str, path: str, model: str = "") -> Facts | Refusal:
        """Return the facts of the first matching rule, or a refusal.

        If no rule matches: NO_FACTS, or ROUTE_NOT_ALLOWED if `deny_unmatched` is set.
        AMBIGUOUS_PATH if the path is not canonical or its readings lead to rules that cannot hold
        together. BAD_REQUEST if the cost in the path is wrong. If a path has several readings, the
        facts of their rules are joined, the strictest each; AMBIGUOUS_PATH above MAX_JOINED (16)
        rules. `path` may have its query, which no rule looks at. model: that the body asks for;
        empty if it is unknown.
        """
        return self._require(method, authority, path, model, ({}, {}))

    def require_all(
        self, methods: Sequence[str], authority: str, path: str, model: str = ""
    ) -> list[Facts | Refusal]:
        """Return the result of `require` for each method, in order.

        The path is compared with each rule once.
        """
        known: _Known = ({}, {})
        return [self._require(method, authority, path, model, known) for method in methods]

    def _require(
        self, method: str, authority: str, path: str, model: str, known: "_Known"
    ) -> Facts | Refusal:
        """Return the result of `require`. known: by index whether a template matches; grows."""
        bare = path.partition("?")[0]
        host = split_host(authority)
        if _METHODS_WITHOUT_PATH.get(bare) == method:
            rules = [r.facts for r in self._everywhere if r.is_for(method, host)][:1]
            return self._joined(rules, unmatched=not rules)
        found = self._read(bare)
        if found is None:
            return _AMBIGUOUS
        asked: list[Facts] = []
        outcome = self._ask(asked, (method, host, model), found, known[0])
        if self._drops_suffix and not isinstance(outcome, Refusal):
            other = Path(*map(without_suffix, found[0])), without_suffix(found[1])
            if "" in other[1]:
                return _AMBIGUOUS
            if other[1] != found[1]:
                also = self._ask(asked, (method, host, model), other, known[1])
                outcome = also if isinstance(also, Refusal) else also and outcome
        if isinstance(outcome, Refusal):
            return outcome
        return self._joined(asked, unmatched=not outcome)

    def _ask(
        self,
        asked: list[Facts],
        target: tuple[str, str, str],
        found: tuple[Path, Sequence[str]],
        known: dict[int, bool],
    ) -> bool | Refusal:
        """Add to `asked` the facts of the rules for a path, up to one for all its readings.

        Return whether there is such a rule, or a refusal. target: method, host, model. found: the
        path as `_read` returns it.
        """
        method, host, model = target
        read, segments = found
        for at in self._find(read.decoded):
            rule = self._rules[at]
            if not rule.is_for(method, host):
                continue
            if at not in known:
                known[at] = rule.template.matches(read.decoded)
            if not known[at]:
                continue
            required = rule.facts_for(segments, model)
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

        unmatched: in some reading no rule matches the path. Then NO_FACTS is joined, too; or, if
        `deny_unmatched` is set, return AMBIGUOUS_PATH, or ROUTE_NOT_ALLOWED if `asked` is empty.
        AMBIGUOUS_PATH also if two rules name different environments, or spend from budgets in
        different ways. The label is that of the first. No assertion if their audiences differ.
        """
        if unmatched:
            if self._deny_unmatched:
                return _ambiguous(asked) if asked else _NOT_ALLOWED
            asked = [*asked, NO_FACTS]
        first, *others = asked
        if not any(other != first for other in others):
            return first
        environments = {each.env or self._env for each in asked} - {None}
        spent = {(each.spending, each.model) for each in asked if each.spending is not None}
        if len(environments) > 1 or len(spent) > 1:
            return _ambiguous(asked)
        spending, model = next(iter(spent), (None, ""))
        models = {each.model for each in asked}
        cost = max(map(_units, asked))
        return Facts(
            scopes=frozenset().union(*(each.scopes or () for each in asked)),
            optional=all(each.optional for each in asked),
            env=next(iter(environments), None),
            cost=cost,
            enforce=strictest([each.enforce for each in asked]),
            label=first.label,
            model=model or (first.model if len(models) == 1 else ""),
            spending=spending and replace(spending, units=cost),
            public=all(each.public for each in asked) or None,
            assertion=first.assertion if len({each.assertion for each in asked}) == 1 else "",
        )


def _units(facts: Facts) -> int:
    """Return what a request takes from limits of requests."""
    if facts.spending is not None:
        return facts.spending.units
    return 1 if facts.cost is None else facts.cost


def _ambiguous(asked: Sequence[Facts]) -> Refusal:
    """Return AMBIGUOUS_PATH of these rules; their strictest `enforce` counts."""
    enforce = strictest([each.enforce for each in asked])
    return Refusal(Reason.AMBIGUOUS_PATH, Facts(enforce=enforce))
