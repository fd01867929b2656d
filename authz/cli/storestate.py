"""The state file beside a pepper: the store that was set up with it, and its last known change.

`authz init` refuses to set up an empty store if this file says that the store had data. The file is
a safeguard only: if the directory cannot be written, there is none.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from authz.core import fields
from authz.settings.model import Settings
from authz.wiring import administration


def known_change(settings: Settings) -> int | None:
    """Return the last known change of this store from the state file.

    None if the file is missing, unreadable or about another store.
    """
    with suppress(ValueError, TypeError, LookupError):
        found = _found(settings)
        if found.get("namespace", settings.redis.namespace) == settings.redis.namespace:
            return int(found["change"])
    return None


def other_namespace(settings: Settings) -> str:
    """Return a line with the remedy if the pepper was used for another namespace of this store.

    "" if it was not, or if that is not known.
    """
    other = _found(settings).get("namespace", settings.redis.namespace)
    if other == settings.redis.namespace:
        return ""
    where = f"the namespace {fields.shown(str(other))}" if other else "no namespace"
    return (
        f"this pepper was used for {where} of this store: correct redis.namespace; a second "
        "installation needs a pepper of its own, or `authz init --new-store`"
    )


def _found(settings: Settings) -> dict[str, Any]:
    """Return the state file if it is about this store, in any namespace, else nothing."""
    with suppress(OSError, ValueError, TypeError, LookupError):
        found: dict[str, Any] = json.loads(_file(settings).read_text(encoding="utf-8"))
        if found["store"] == administration.partitions(settings)[0].address:
            return found
    return {}


def remember(settings: Settings, change: int) -> None:
    """Write the state file with `change`, or with the known change if that is higher.

    The known change of another store does not count. A file that cannot be written is ignored.
    """
    change = max(change, known_change(settings) or 0)
    write(settings, change)


def write(settings: Settings, change: int) -> None:
    """Write the state file with exactly this change. A failure to write is ignored."""
    file = _file(settings)
    store, namespace = administration.partitions(settings)[0].address, settings.redis.namespace
    document = {"store": store, "namespace": namespace, "change": change}
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError):
        draft.write_text(json.dumps(document), encoding="utf-8")
        draft.replace(file)


def _file(settings: Settings) -> Path:
    pepper = settings.keys.peppers[-1].file
    return pepper.with_name(f".{pepper.name}.state")
