"""The author of a change, for the audit trail."""

import os
import pwd
import socket

from authz.core import fields


def actor() -> str:
    """Return $AUTHZ_ACTOR, else user@host, as one printable line.

    It has at most fields.MAX_TEXT (256) characters; unprintable ones and blanks become single
    spaces. A user without a name is `uid-N`. A variable with only spaces counts as unset.
    """
    return _line(os.environ.get("AUTHZ_ACTOR", "")) or _line(f"{_user()}@{socket.gethostname()}")


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a uid without a name
        return f"uid-{os.getuid()}"


def _line(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[: fields.MAX_TEXT]
