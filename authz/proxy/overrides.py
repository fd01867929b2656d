"""Rule about headers by which a backend may take another host or path than Envoy and authz."""

from collections.abc import Iterator
from typing import Final

from authz.proxy.chains import Chain, Expected
from authz.proxy.document import items, texts
from authz.proxy.headers import early_mutations, removes, request_mutations
from authz.proxy.problem import WARN, Problem

HOSTS: Final = ("x-forwarded-host", "forwarded")
PATHS: Final = ("x-original-url", "x-rewrite-url")


def overrides(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Report headers of clients that a rule of `routes` does not see and a backend may believe.

    WARN for each that nothing removes: those with a host if a rule names one, those with a path if
    there are rules.
    """
    removed = {
        name.lower()
        for level in chain.levels[:1]
        for name in texts(level.message.get("request_headers_to_remove"))
    }
    steps = [*early_mutations(chain), *request_mutations(items(chain.manager.get("http_filters")))]
    for name in (HOSTS if expected.has_hosts else ()) + (PATHS if expected.has_rules else ()):
        if name not in removed and not any(removes(step, name) for step in steps):
            advice = (
                f"early_header_mutation_extensions: remove {name}, if no proxy in front sets it"
            )
            what = "host" if name in HOSTS else "path"
            yield WARN, f"some backends take the {what} from {name} of a client", advice
