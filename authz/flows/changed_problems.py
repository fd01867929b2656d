"""ChangedProblems: logs the problem of a key when it changes, not at each try."""

import logging
from typing import Final

from authz.core.bounded import BoundedDict

MAX_KEYS: Final = 10_000


class ChangedProblems:
    """The latest problem of each key, of at most MAX_KEYS (10,000) keys."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._latest: BoundedDict[str, str] = BoundedDict(MAX_KEYS)

    def tell(self, kid: str, problem: str) -> None:
        """Log the problem of a key, unless it is the one of the last call."""
        if self._latest.get(kid) != problem:
            self._log.warning("%s", problem)
        self._latest.put(kid, problem)

    def clear(self, kid: str) -> None:
        """Forget the problem of a key: it is solved."""
        self._latest.pop(kid, None)
