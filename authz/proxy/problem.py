"""The result of one rule: level, description and advice."""

from typing import Final

from authz.core.finding import Level

Problem = tuple[Level, str, str]
FAIL: Final = Level.FAIL
WARN: Final = Level.WARN
