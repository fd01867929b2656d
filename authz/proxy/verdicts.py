"""What a question says of a configuration: how bad, what, and what to do about it."""

from typing import Final

from authz.core.finding import Level

Wrong = tuple[Level, str, str]
FAIL: Final = Level.FAIL
WARN: Final = Level.WARN
