"""Classes of compiled modules as pure Python, so that a mutant can inherit from them."""

import importlib.util
import sys
from pathlib import Path
from typing import Any


def interpreted(kind: type[Any]) -> type[Any]:
    """Return a class as its source says it; the class itself if it is not compiled.

    A compiled class can have no interpreted subclass.
    """
    module = sys.modules[kind.__module__]
    file = Path(module.__file__ or "")
    if file.suffix == ".py":
        return kind
    source = file.with_name(file.name.split(".")[0] + ".py")
    spec = importlib.util.spec_from_file_location(kind.__module__, source)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return getattr(found, kind.__name__)
