"""A walk over all names that begin with one text, while others may write."""

from collections.abc import AsyncIterator
from typing import Any, Final

import redis.asyncio

from authz.storage.replies import checked

PAGE: Final = 1000  # names that the store looks at in one step


async def names_from(
    client: redis.asyncio.Redis, beginning: str, pattern: str = "*", kind: str | None = None
) -> AsyncIterator[list[str]]:
    """Yield the names that begin with this text, in pages. A name may come twice.

    pattern: of the rest of the name. kind: type of the values, such as LIST. Names that are there
    during the whole walk are yielded; a page may be empty. Raises Unavailable.
    """
    cursor: Any = 0
    while True:
        scan: Any = client.scan(cursor, f"{escaped(beginning)}{pattern}", PAGE, kind)
        cursor, page = await checked(scan)
        yield page
        if not int(cursor):
            return


def escaped(text: str) -> str:
    """Return a pattern of the store that matches this text alone."""
    return "".join(f"\\{one}" if one in "\\*?[]^" else one for one in text)
