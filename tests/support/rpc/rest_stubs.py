"""The methods of the admin API over REST, called with the messages that the gRPC stubs take."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from authz.rpc.admin.rest.rules import WHOLE_MESSAGE, Rule, rules
from tests.support.rpc.admin import AdminRig
from tests.support.rpc.rest import Answer, RestClient

_VARIABLE: Final = re.compile(r"\{([a-z_.]+)(?:=[^{}]*)?\}")
_SERVICES: Final = (
    *("keys", "policy", "limits", "usage", "tokens", "audit", "events", "fleet", "me", "admin"),
)


class RestStubs:
    """One caller over REST. A call such as `stubs.keys.GetKey(request)` returns its Answer."""

    def __init__(self, rig: AdminRig, key: str = "") -> None:
        self._client = RestClient(rig.process.http, key, waits=False)
        self._rules = {rule.method.name: rule for rule in rules(rig.process.calls.methods.values())}
        for service in _SERVICES:
            setattr(self, service, _Service(self, service.title()))

    @property
    def methods(self) -> set[str]:
        """The names of the methods that have a REST form."""
        return set(self._rules)

    async def call(self, name: str, message: Message) -> Answer:
        """Send the request of a method."""
        rule = self._rules[name]
        fields = MessageToDict(message)
        target = _VARIABLE.sub(lambda match: quote(_taken(fields, match[1])), rule.template.text)
        body = _body(rule, fields)
        query = urlencode(list(_flat(fields)))
        return await self._client.send(rule.verb, f"{target}?{query}" if query else target, body)


class _Service:
    def __init__(self, stubs: RestStubs, name: str) -> None:
        self._stubs = stubs
        self._name = name

    def __getattr__(self, method: str) -> Any:
        return lambda request: self._stubs.call(f"{self._name}.{method}", request)


def _taken(fields: dict[str, Any], path: str) -> str:
    """Remove the value of a field path from the fields, and return it."""
    *outer, last = map(_camel, path.split("."))
    for name in outer:
        fields = fields[name]
    return str(fields.pop(last))


def _body(rule: Rule, fields: dict[str, Any]) -> dict[str, Any] | None:
    """Remove the fields of the body, and return it; None if the rule has none."""
    if not rule.body:
        return None
    if rule.body == WHOLE_MESSAGE:
        body = dict(fields)
        fields.clear()
        return body
    found: dict[str, Any] = fields.pop(_camel(rule.body), {})
    return found


def _flat(fields: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield query parameters: dots between names, and a parameter for each part of a list."""
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping):
                yield from _flat(each, f"{before}{name}.")
            else:
                yield f"{before}{name}", str(each).lower() if isinstance(each, bool) else str(each)


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)
