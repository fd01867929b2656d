"""Rules for other secret scanners, made from the pattern by which we find keys ourselves.

None of these scanners checks the checksum, so a rule also finds a damaged key.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from authz.core.keys.scanning import key_pattern
from authz.core.keys.text import ENVIRONMENTS

_ABOUT: Final = "An API key that was made by authz"


def rules_for(tool: str, prefixes: Sequence[str]) -> str:
    """Return the rules of one of TOOLS for keys with one of these prefixes, as a file.

    Raises KeyError for another tool.
    """
    return _WRITERS[tool](prefixes)


def _gitleaks(prefixes: Sequence[str]) -> str:
    keywords = ", ".join(f'"{one}"' for one in _keywords(prefixes))
    return f"""\
# Rules for gitleaks, written by `authz scan --rules gitleaks`.
title = "Keys of authz"

[[rules]]
id = "authz-api-key"
description = "{_ABOUT}"
regex = '''{_pattern(prefixes)}'''
keywords = [{keywords}]
"""


def _trufflehog(prefixes: Sequence[str]) -> str:
    keywords = "".join(f"      - {one}\n" for one in _keywords(prefixes))
    return f"""\
# A custom detector for trufflehog, written by `authz scan --rules trufflehog`.
detectors:
  - name: authz-api-key
    description: {_ABOUT}
    keywords:
{keywords}\
    regex:
      key: '{_pattern(prefixes)}'
"""


def _detect_secrets(prefixes: Sequence[str]) -> str:
    return f'''\
"""A plugin for detect-secrets, written by `authz scan --rules detect-secrets`."""

import re

from detect_secrets.plugins.base import RegexBasedDetector


class AuthzKeyDetector(RegexBasedDetector):
    """{_ABOUT}."""

    secret_type = "authz API key"
    denylist = (re.compile(r"{_pattern(prefixes)}"),)
'''


_WRITERS: Final[Mapping[str, Callable[[Sequence[str]], str]]] = {
    "gitleaks": _gitleaks,
    "trufflehog": _trufflehog,
    "detect-secrets": _detect_secrets,
}
TOOLS: Final = tuple(_WRITERS)


def _pattern(prefixes: Sequence[str]) -> str:
    one, *others = prefixes
    return key_pattern(f"(?:{'|'.join(prefixes)})" if others else one)


def _keywords(prefixes: Sequence[str]) -> list[str]:
    return [f"{prefix}_{env}_" for prefix in prefixes for env in ENVIRONMENTS]
