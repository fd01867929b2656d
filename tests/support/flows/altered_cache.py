"""A cache with a mistake: a real KeyCache behind methods of its own.

It is no subclass, because a compiled class can have none that is interpreted.
"""

from typing import Any

from authz.flows.keycache import KeyCache


class AlteredCache:
    """A KeyCache. A subclass alters some of its methods. real: the cache as it is."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.real = KeyCache(*args, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)
