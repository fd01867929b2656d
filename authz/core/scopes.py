"""Scopes that a key holds, also by a wildcard."""

from functools import lru_cache


def is_held(wanted: str, held: frozenset[str]) -> bool:
    """Return whether `held` covers a scope: itself, as `*`, or as `a:*` for `a:b` and `a:b:c`."""
    if wanted in held or "*" in held:
        return True
    while ":" in wanted:
        wanted = wanted.rpartition(":")[0]
        if f"{wanted}:*" in held:
            return True
    return False


def are_held(wanted: frozenset[str], held: frozenset[str]) -> bool:
    """Return whether `held` covers each of these scopes."""
    return wanted <= held or all(is_held(scope, held) for scope in wanted)


@lru_cache(1024)
def shared(scopes: frozenset[str]) -> frozenset[str]:
    """Return an equal set: for equal sets the same one, which saves memory. 1,024 are remembered.

    Many keys have the same scopes, and a set of two takes 350 bytes.
    """
    return scopes
