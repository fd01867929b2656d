"""Rules: the HTTP form of each method, read from its google.api.http annotation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule

from authz.rpc.admin.method_table import Method
from authz.rpc.admin.rest.url_template import UrlTemplate

WHOLE_MESSAGE = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """The HTTP form of a method. verb: the HTTP method, such as `GET`.

    body: the field that the body holds, `*` for the whole request message, or empty for no body.
    """

    verb: str
    template: UrlTemplate
    body: str
    method: Method


def rules(methods: Iterable[Method]) -> list[Rule]:
    """Return the rules of the methods that have an annotation, in order, one for each method."""
    return list(_rules(methods))


def _rules(methods: Iterable[Method]) -> Iterator[Rule]:
    for method in methods:
        options = method.descriptor.GetOptions()
        rule = cast("HttpRule", options.Extensions[annotations_pb2.http])
        verb = rule.WhichOneof("pattern")
        if verb is not None:
            template = UrlTemplate.parse(getattr(rule, verb))
            yield Rule(verb.upper(), template, rule.body, method)
