"""The requirements of our own rules on a request, whichever method its backend takes it for."""

from collections.abc import Sequence
from typing import Any, Final

from authz.core.decision import Reason
from authz.core.request import Headers
from authz.core.route_facts import Facts, Refusal, strictest
from authz.core.routes import RouteTable
from authz.rpc.check.override import other_methods

BAD_ROUTE: Final = Refusal(Reason.BAD_REQUEST)
MODEL_SPACE, MODEL_NAME = b"authz.request", b"model"  # of the dynamic metadata of Envoy


def required(
    rules: RouteTable, method: str, host: str, path: str, headers: Headers, *, model: str
) -> Facts | Refusal:
    """Return the facts of our own rules, or a refusal. model: as `RouteTable.require` takes it.

    Headers or the query may override the method. Then the rules must give the same result for each
    method. If not, or if an override is unusable, the refusal is BAD_REQUEST.
    """
    if rules.has_methods:
        others = other_methods(headers, path)
        if others is None:
            return BAD_ROUTE
        if others:
            found = rules.require_all((method, *others), host, path, model)
            same = all(each == found[0] for each in found)
            return found[0] if same else _disputed(found)
    return rules.require(method, host, path, model)


def model_of(metadata: Any) -> str:
    """Return the model that a filter of Envoy read in the body; empty if there is none.

    A client cannot write this metadata, but its text is the client's. metadata: a `Metadata` of
    check_view.proto.
    """
    for space in metadata.filter_metadata:
        if space.key == MODEL_SPACE:
            for member in space.value.fields:
                if member.key == MODEL_NAME:
                    return str(member.value.string_value, "utf-8", "replace")
    return ""


def _disputed(found: Sequence[Facts | Refusal]) -> Refusal:
    """Return BAD_REQUEST for methods with different requirements; the strictest `enforce` counts.

    The rule is unknown if one of them is refused by an unknown rule.
    """
    met = [each if isinstance(each, Facts) else each.facts for each in found]
    known = [each.enforce for each in met if each is not None]
    whole = Facts(enforce=strictest(known)) if len(known) == len(met) else None
    return Refusal(Reason.BAD_REQUEST, whole)
