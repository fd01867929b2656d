"""Modules that a library imports for rare cases: each is loaded at its first use."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def import_late(*names: str) -> None:
    """Have these modules loaded at their first use. Modules that are loaded already stay.

    A library must import them as a whole: `from module import name` is a use. Call it before the
    library is imported. Raises ImportError if a package of theirs does not exist.
    """
    for name in names:
        if name in sys.modules:
            continue
        package, _, own = name.rpartition(".")
        late = _LateModule(name)
        if package:
            setattr(import_module(package), own, late)
        sys.modules[name] = late


class _LateModule(ModuleType):
    """Stands for a module until something asks for one of its names."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of the import system, which asks before there is a use
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        loaded = import_module(self.__name__)
        self.__dict__.update(vars(loaded))
        return getattr(loaded, name)
