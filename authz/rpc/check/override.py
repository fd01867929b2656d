"""Methods that a client names beside the one of its request line.

Some frameworks run the handler of the method in a header or in the query. Of a list some take the
first part and some the last, so each part counts.
"""

import re
from typing import Final
from urllib.parse import unquote_plus

from authz.core.keys.text import escapable
from authz.core.methods import METHOD_OVERRIDES, is_method
from authz.core.request import Headers, header_text

MAX_METHOD_TEXT: Final = 256  # characters of one header or parameter
MAX_METHODS: Final = 4

_PARAMETER: Final = re.compile(rf"[?&;]{escapable('_method')}=([^&;]*)", re.ASCII)


def other_methods(headers: Headers, path: str) -> frozenset[str] | None:
    """Return the methods named by override headers and by `_method` in the query, in upper case.

    Empty if there are none. None if a name is no method, if there are more than MAX_METHODS (4), or
    if a value exceeds MAX_METHOD_TEXT (256) characters. Each part of a list in commas counts.
    """
    given = [text for name in METHOD_OVERRIDES if (text := header_text(headers, name))]
    if "?" in path and ("_method=" in path or "%" in path):
        given += _PARAMETER.findall(path, path.index("?"))
    if not given:
        return frozenset()
    texts = set(given)
    if len(texts) > MAX_METHODS or any(len(text) > MAX_METHOD_TEXT for text in texts):
        return None
    parts = {part.strip() for text in texts for part in unquote_plus(text).split(",")} - {""}
    methods = frozenset(map(str.upper, parts))
    if len(methods) > MAX_METHODS or not all(map(str.isascii, parts)):
        return None
    return methods if all(map(is_method, methods)) else None
