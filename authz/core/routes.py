"""Routes of our own settings: what a request asks of a key, by host, method and path template.

For meshes that cannot say it per route (context_extensions). Rules are tried in order, the first
that matches decides.

    /v1/models/{model}:generateContent      {name} is a part of one segment, never empty
    /v1/files/**                            ** at the end is anything below, and /v1/files itself

A proxy in a mesh does not normalise paths, and a backend may: where rules decide, a path that two
readers could read differently is refused (`is_canonical`), so that no spelling gets around a rule.
A final slash makes no difference to a match, for the same reason.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from authz.core import fields
from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.fields import shown, split_host
from authz.core.limits.limit import parse_cost

MAX_RULES: Final = 1000
MAX_TEMPLATE: Final = 1024
MAX_NAMES: Final = 200  # of names that are none of ours, in characters

_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)
_VARIABLE = re.compile(r"\{[a-z][a-z0-9_]{0,63}\}", re.ASCII)
_LITERAL = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-F]{2})*", re.ASCII)
# Percent-encoded: a slash, a backslash, a control character, or what needs no encoding (RFC 3986,
# section 2.3); and a percent sign that encodes nothing.
_TWO_READINGS = re.compile(
    r"[\\;#\x00-\x20\x7f-\U0010ffff]"
    r"|%(?![0-9A-Fa-f]{2})"
    r"|%(?:2[DEFdef]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9AaEeFf]|[01][0-9A-Fa-f])",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule or a route says; None where it says nothing."""

    scopes: frozenset[str] | None = None
    optional: bool | None = None
    env: str | None = None
    cost: int | None = None
    enforce: bool | None = None


NO_FACTS: Final = Facts()
FACTS: Final = frozenset(
    {"scopes", "auth", "env", "cost", "enforce"}
)  # what a proxy may say of a route


def facts(said: Mapping[str, str]) -> Facts:
    """What a proxy says of a route (context_extensions); empty is not said.

    Raises BadInput when it makes no sense. A name that is none of FACTS is a mistake, such as
    `scope`, and may have been a restriction.
    """
    if strange := sorted(said.keys() - FACTS):
        names = " ".join(map(shown, strange))
        raise BadInput(names[:MAX_NAMES], f"there are {' '.join(sorted(FACTS))}")
    auth, env, cost = said.get("auth"), said.get("env"), said.get("cost")
    if auth not in {None, "", "required", "optional"}:
        raise BadInput("auth", f"{shown(auth)}: required or optional")
    enforce = said.get("enforce")
    if enforce not in {None, "", "true", "false"}:
        raise BadInput("enforce", f"{shown(enforce)}: true or false")
    scopes = said.get("scopes", "").split()
    return Facts(
        scopes=fields.scopes("scopes", scopes) if said.get("scopes") else None,
        optional=auth == "optional" if auth else None,
        env=fields.environment("env", env) if env else None,
        cost=parse_cost("cost", cost) if cost else None,
        enforce=enforce == "true" if enforce else None,
    )


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. No host is any host, no methods are any method."""

    host: str
    methods: frozenset[str]
    pattern: re.Pattern[str]
    facts: Facts

    @classmethod
    def parse(
        cls, field: str, path: str, host: str, methods: Sequence[str], facts: Facts
    ) -> "Rule":
        """Read a rule of the settings. Raises BadInput."""
        for method in methods:
            if not _METHOD.fullmatch(method):
                raise BadInput(field, f"{shown(method)} is not a method, such as POST")
        known_host = fields.hosts(field, [host])[0] if host else ""
        return cls(known_host, frozenset(methods), _compile(field, path), facts)

    def matches(self, method: str, host: str, path: str) -> bool:
        """Does the rule apply? `host` without a port, `path` without the query."""
        if self.methods and method not in self.methods:
            return False
        if self.host and not fields.host_matches(self.host, host):
            return False
        return self.pattern.fullmatch(path) is not None


class RouteTable:
    """The rules, in order. `deny_unmatched`: refuse what no rule applies to."""

    def __init__(self, rules: Sequence[Rule], *, deny_unmatched: bool = False) -> None:
        self._rules = tuple(rules)
        self._deny_unmatched = deny_unmatched

    def require(self, method: str, authority: str, path: str) -> Facts | Reason:
        """The facts of the first rule that applies, or why no rule may decide.

        `path` may have its query, which no rule looks at.
        """
        bare = path.partition("?")[0]
        if not is_canonical(bare):
            return Reason.AMBIGUOUS_PATH
        host = split_host(authority)
        for rule in self._rules:
            if rule.matches(method, host, bare):
                return rule.facts
        return Reason.ROUTE_NOT_ALLOWED if self._deny_unmatched else NO_FACTS


def is_canonical(path: str) -> bool:
    """Has `path`, without its query, only one reading?"""
    if not path.startswith("/") or _TWO_READINGS.search(path):
        return False
    segments = path[1:].split("/")
    if segments[-1] == "":  # one final slash, or the root
        segments.pop()
    return not any(segment in {"", ".", ".."} for segment in segments)


def _compile(field: str, template: str) -> re.Pattern[str]:
    is_prefix = template.endswith("/**")
    body = template.removesuffix("/**" if is_prefix else "/")
    literals = _VARIABLE.split(body)
    if not (
        template.startswith("/")
        and len(template) <= MAX_TEMPLATE
        and all(_LITERAL.fullmatch(part) for text in literals for part in text.split("/"))
        and "**" not in body
        and "}{" not in body
        and is_canonical(_VARIABLE.sub("x", template.removesuffix("**")))
    ):
        raise BadInput(
            field,
            f"{shown(template)} is not a path template, such as /v1/models/{{model}}:predict",
        )
    below = ("(?:/.*)?" if is_prefix else "/?") if body else ("/.*" if is_prefix else "/")
    return re.compile("[^/]+".join(map(re.escape, literals)) + below, re.ASCII | re.DOTALL)
