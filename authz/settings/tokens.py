"""The `tokens` section: short-lived tokens, which are exchanged for keys."""

import re
from typing import Annotated, Final

from authz.core.errors import BadInput
from authz.core.tokens.text import MAX_LIFETIME
from authz.core.web_address import check_url
from authz.settings.parsers import Between
from authz.settings.sections import Section
from authz.settings.values import Audience, distinct, seconds

GOOD: Final = "https://auth.example.com"
_LOCAL: Final = re.compile(r"http://[a-z0-9-]+\.localhost(?::\d{1,5})?", re.ASCII)


def _issuer(url: str) -> str:
    """Return the URL. An issuer is a name, so a host of `.localhost` (RFC 6761) needs no TLS."""
    try:
        if url and not _LOCAL.fullmatch(url):
            check_url("", url)
    except BadInput as cause:
        raise ValueError(f"{cause.problem}; such as {GOOD}") from None
    if "?" in url or url.endswith("/"):
        raise ValueError(f"a URL without a query and without a slash at its end, such as {GOOD}")
    return url


class Tokens(Section):
    """Short-lived tokens. Without an issuer there are none."""

    issuer: Annotated[Audience, _issuer] = ""
    audiences: Annotated[tuple[Audience, ...], distinct] = ()
    lifetime: Annotated[float, seconds("1s", f"{MAX_LIFETIME}s")] = 300.0
    signatures_per_second: Annotated[int, Between(1, 100_000)] = 500

    def accepted_audiences(self) -> tuple[str, ...]:
        """Return the audiences of tokens; the first one is the default. The issuer without any."""
        return self.audiences or (self.issuer,)
