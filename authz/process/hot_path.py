"""How the modules of the hot path run: compiled by mypyc, or in Python.

A wheel for one platform has them compiled beside their sources, and Python prefers those. The pure
wheel has the sources alone. pyproject.toml lists the modules.
"""

from importlib.util import find_spec
from typing import Final

MODULE: Final = "authz.core.policy"  # a wheel has all modules of the list compiled, or none
COMPILED: Final = "compiled"
PYTHON: Final = "python"


def form() -> str:
    """Return `compiled` or `python`: how this process runs, or would run, the hot path.

    The module itself is not imported.
    """
    found = find_spec(MODULE)
    is_source = found is None or (found.origin or "").endswith(".py")
    return PYTHON if is_source else COMPILED
