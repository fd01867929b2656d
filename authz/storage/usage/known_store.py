"""KnownStore: tells a meter, which has no pepper, whether a store is the one that it counts in.

Rules:
1. The fingerprints of peppers in authz:meta identify an installation. None is ever taken out.
2. The setting names one of them. A store without that one is refused.
3. Without the setting the first store is believed. Later ones need a fingerprint in common with it.
4. A store without fingerprints is believed only while none is known.
"""

import string
from collections.abc import Mapping
from typing import Final

from authz.core.errors import Foreign
from authz.storage import schema

FIELDS: Final = tuple(
    f"{schema.META_PEPPER}{version}" for version in string.digits + string.ascii_letters
)
UNCONFIGURED: Final = (
    "the store has no pepper with the fingerprint of meter.pepper_fingerprint: it belongs to "
    "another installation; correct redis.url, or take the setting from `authz init --json`"
)
OTHER: Final = (
    "the store's peppers are not those of the store in which this meter counted: it belongs to "
    "another installation; correct redis.url, or restart the meter if the new store is right"
)


class KnownStore:
    """The fingerprints of the store in which a meter counts.

    configured: the fingerprint of one of its peppers, or "" to believe the first store.
    """

    def __init__(self, configured: str = "") -> None:
        self._configured = configured
        self._known: dict[str, str] = {}

    @property
    def is_known(self) -> bool:
        """Whether the fingerprint of a pepper is known, by the setting or by an earlier store."""
        return bool(self._configured or self._known)

    @property
    def proof(self) -> Mapping[str, str]:
        """A field of authz:meta and its value, which the store has to have at each commit.

        Empty before the first store, and if that one has no peppers.
        """
        wanted = ((name, text) for name, text in self._known.items() if self._fits(text))
        return dict([next(wanted)]) if self._known else {}

    def accept(self, found: Mapping[str, str]) -> None:
        """Remember the fingerprints of a store. found: its values of FIELDS, by field.

        Raises Foreign, and remembers nothing, if it is not the store in which the meter counts.
        """
        if self._configured and self._configured not in found.values():
            raise Foreign(UNCONFIGURED)
        common = self._known.keys() & found.keys()
        if self._known and not all(self._known[name] == found[name] for name in common):
            raise Foreign(OTHER)
        if self._known and not common:
            raise Foreign(OTHER)
        self._known |= found

    def _fits(self, text: str) -> bool:
        return text == self._configured or not self._configured
