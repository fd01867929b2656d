"""Whether bytes hold one of some short texts: the question that most of a search asks."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

LARGE: Final = 256 * 1024  # bytes from which the list of matches could need much memory


try:  # the extra `scan`; earlier versions search no bytes
    quick: Any = import_module("ahocorasick_rs").BytesAhoCorasick
except (ImportError, AttributeError):
    quick = None


def holder(texts: Sequence[bytes]) -> Callable[[bytes], bool]:
    """Return a function that says whether bytes hold one of these texts."""

    def holds(data: bytes) -> bool:
        for text in texts:  # noqa: SIM110  a generator costs 1 us for each object
            if text in data:
                return True
        return False

    if quick is None or not texts:
        return holds
    # One search for each text: for several ones together there is no such fast way.
    finds = [quick([text]).find_matches_as_indexes for text in texts]

    def holds_quickly(data: bytes) -> bool:
        if len(data) > LARGE:
            return holds(data)
        for find in finds:  # noqa: SIM110
            if find(data):
                return True
        return False

    return holds_quickly
