"""Lines to import, and their results."""

import json
from typing import Any

from tests.support.real import Valkey

FOREIGN = "sk-0123456789abcdef"


def line(number: int = 0, **fields: Any) -> str:
    """Return one line of an import."""
    return json.dumps({"key": f"foreign-key-{number:08}", "client": "acme-web"} | fields)


def stored(valkey: Valkey) -> int:
    """Return the number of keys."""
    return valkey.admin.zcard("authz:{0}:keys")
