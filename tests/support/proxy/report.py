"""The doctor's findings about a configuration, for sidecars with the default settings."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from authz.core.finding import Finding, Level
from authz.proxy.chains import Expected
from authz.proxy.rules import examine

DEFAULTS = Expected("x-auth-", ["x-api-key", "authorization"], "", "peer", 0.05, 5.0)
WITH_ROUTES = replace(DEFAULTS, has_rules=True, has_hosts=True, has_methods=True)


def problems(documents: Sequence[Any], expected: Expected = DEFAULTS) -> list[Finding]:
    """Return the findings that are warnings or failures."""
    return [found for found in examine(documents, expected) if found.level is not Level.OK]
