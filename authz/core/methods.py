"""Methods of requests, and the headers by which a client names another one."""

import re
from typing import Final

# The token of RFC 9110, section 5.6.2, in upper case.
_METHOD: Final = re.compile(r"[A-Z][A-Z0-9!#$%&'*+.^_`|~-]{0,31}", re.ASCII)
# Headers by which a client names another method; some frameworks then run its handler.
METHOD_OVERRIDES: Final = ("x-http-method-override", "x-http-method", "x-method-override")
# A method that our own settings, commands and log lines may name.
NAMED_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)


def is_method(text: str) -> bool:
    """Return whether `text` is a method in upper case, as RFC 9110 registers them.

    At most 32 characters. Methods are case-sensitive, and many frameworks run the handler of DELETE
    for `delete`.
    """
    return _METHOD.fullmatch(text) is not None
