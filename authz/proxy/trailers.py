"""Rule about trailers and upgrades, which the early header mutations do not reach."""

from collections.abc import Iterator
from typing import Final

from authz.proxy.chains import Chain, Expected
from authz.proxy.document import Message, at, is_on, items, kind_of, within
from authz.proxy.headers import identity_headers, removes
from authz.proxy.problem import WARN, Problem

OVERWRITES: Final = ("OVERWRITE_IF_EXISTS", 2)


def trailers(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Report trailers that carry identity, and upgrades that keep their Connection header.

    WARN: a client's trailers reach an HTTP/2 backend with identity headers, or another token of
    Connection makes the next proxy drop identity headers. Filters before and after ext_authz count.
    """
    filters = list(_header_mutations(chain))
    stripped = [
        mutation
        for config in filters
        for mutation in items(config.get("request_trailers_mutations"))
    ]
    names = identity_headers(expected)
    if not all(any(removes(mutation, name) for mutation in stripped) for name in names):
        prefix = expected.header_prefix
        advice = "request_trailers_mutations of a header_mutation filter, as in envoy.yaml"
        yield WARN, f"{prefix}* in a client's trailers reaches a backend with HTTP/2", advice
    changed = [
        mutation for config in filters for mutation in items(config.get("request_mutations"))
    ]
    if _upgrades(chain) and not any(map(_resets_connection, changed)):
        advice = (
            "a header_mutation filter that overwrites connection with upgrade, as in envoy.yaml"
        )
        yield WARN, "an upgrade passes on every token of its Connection header", advice


def _header_mutations(chain: Chain) -> Iterator[Message]:
    """Yield the `mutations` of each header_mutation filter that is on."""
    for step in items(chain.manager.get("http_filters")):
        config = within(step, "typed_config")
        if not is_on(step.get("disabled")) and kind_of(config).endswith("HeaderMutation"):
            yield within(config, "mutations")


def _upgrades(chain: Chain) -> bool:
    """Return whether the manager or one of its routes lets clients upgrade a connection."""
    routes = [at(route.route, "route", "upgrade_configs") for route in chain.routes]
    return any(
        any(True for _ in items(each)) for each in [chain.manager.get("upgrade_configs"), *routes]
    )


def _resets_connection(mutation: Message) -> bool:
    append = within(mutation, "append")
    header = within(append, "header")
    return (
        str(header.get("key", "")).lower() == "connection"
        and str(header.get("value", "")).lower() == "upgrade"
        and append.get("append_action") in OVERWRITES
    )
