"""LoginLink: opens the console once, as one key, without the text of the key."""

import json
from dataclasses import asdict, dataclass
from typing import Final

LINK_MS: Final = 600_000
MAX_LINK: Final = 512  # characters of its token
USE_LINK: Final = "login link"  # of its seal
PATH: Final = "/login/link"


@dataclass(frozen=True, slots=True)
class LoginLink:
    """A link. id: random. ends_at: milliseconds since the epoch."""

    id: str
    kid: str
    secret_id: str
    ends_at: int

    def text(self) -> str:
        """Return the link as text, to be sealed."""
        return json.dumps(asdict(self), separators=(",", ":"))


def read_link(text: str) -> LoginLink | None:
    """Return the link of a text that was sealed; None if another version wrote it."""
    try:
        return LoginLink(**json.loads(text))
    except (ValueError, TypeError):
        return None


def link_url(origin: str, token: str) -> str:
    """Return the address to open. The token is its fragment, which no browser sends or logs."""
    return f"{origin}{PATH}#{token}"
