"""Lines to import, and what came of them."""

import json
from typing import Any

from tests.support.real import Valkey

FOREIGN = "sk-0123456789abcdef"


def line(number: int = 0, **fields: Any) -> str:
    """One line of an import."""
    return json.dumps({"key": f"foreign-key-{number:08}", "client": "acme-web"} | fields)


def stored(valkey: Valkey) -> int:
    """How many keys there are."""
    return valkey.admin.zcard("authz:{0}:keys")
