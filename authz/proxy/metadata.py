"""The rule about filter_enabled_metadata, by which Istio selects the requests to check.

The shadow rules of an RBAC filter mark a request with metadata, and ext_authz checks only marked
requests. A request that no rule matches is not checked.
"""

from collections.abc import Callable, Iterator
from typing import Any

from authz.proxy.chains import Chain
from authz.proxy.document import Message, at, is_on, items, kind_of, within
from authz.proxy.problem import FAIL, WARN, Problem


def left_out(chain: Chain) -> Iterator[Problem]:
    """Report requests that filter_enabled_metadata excludes from the check; nothing without it.

    WARN: no RBAC filter before this one sets the metadata. FAIL: no policy of such a filter matches
    every request except exact paths.
    """
    wanted = within(chain.config, "filter_enabled_metadata")
    if not wanted:
        return
    prefix = str(at(wanted, "value", "string_match", "prefix") or "")
    policies = [
        (str(name), policy)
        for step in chain.before
        if kind_of(within(step, "typed_config")).endswith("rbac.v3.RBAC")
        for name, policy in within(step, "typed_config", "shadow_rules", "policies").items()
        if str(name).startswith(prefix)
    ]
    if not policies:
        advice = "look at the filter that sets it"
        yield WARN, f"asked only where metadata of {wanted.get('filter')} says so", advice
    elif not any(_matches_all(policy) for _, policy in policies):
        named = ", ".join(name for name, _ in policies)
        advice = "let one rule match everything but exact paths (notPaths)"
        yield FAIL, f"not checked at all: what is not matched by {named}", advice


def _matches_all(policy: Any) -> bool:
    """Return whether a policy matches every request except some exact paths.

    It needs a permission that does, and a principal that matches everyone.
    """
    permissions, principals = within(policy).get("permissions"), within(policy).get("principals")
    return any(_is_all(rule, _but_paths) for rule in items(permissions)) and any(
        _is_all(rule, lambda _: False) for rule in items(principals)
    )


def _is_all(rule: Message, may_lack: Callable[[Message], bool]) -> bool:
    """Return whether a permission or principal matches everything.

    It may exclude (`not_rule`) only a rule for which `may_lack` returns True.
    """
    every, some = (_parts(rule, kind) for kind in ("and", "or"))
    return (
        is_on(rule.get("any"))
        or (bool(every) and all(_is_all(part, may_lack) for part in every))
        or any(_is_all(part, may_lack) for part in some)
        or ("not_rule" in rule and may_lack(within(rule, "not_rule")))
    )


def _but_paths(rule: Message) -> bool:
    """Return whether a permission matches exact paths only; False for an empty one."""
    every, some = (_parts(rule, kind) for kind in ("and", "or"))
    return (
        "exact" in within(rule, "url_path", "path")
        or any(_but_paths(part) for part in every)
        or (bool(some) and all(_but_paths(part) for part in some))
    )


def _parts(rule: Message, kind: str) -> list[Message]:
    listed = at(rule, f"{kind}_rules", "rules") or at(rule, f"{kind}_ids", "ids")
    return list(items(listed))
