"""Requests that are charged once: a retry that names the same request takes nothing again.

Rules:
1. A route names headers, such as `idempotency-key`. The first of them that a request has names it.
2. The name counts for one key, method, host, path (without the query) and cost in units. It is
   hashed with them, so no text of a client gets into the store. Costs of budgets may differ: the
   attempt with the highest cost counts.
3. A name is forgotten after the time of the route. X-REQUEST-ID lasts at most RETRY_MS (10 s): a
   proxy makes it, and repeats a Check at once.
4. After MAX_ATTEMPTS requests the next one is charged, and a new count begins. A client chooses
   the name, so this bounds what it gets for one charge.
5. Only a request that was charged is remembered. A refused one is charged when it is repeated.
"""

from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import Final, NamedTuple

from authz.core.limits.amounts import units_of
from authz.core.request import Request

MAX_ATTEMPTS: Final = 16  # requests of one name for one charge; lua/spend.lua has it too
MAX_VALUE: Final = 255  # bytes of the header
X_REQUEST_ID: Final = "x-request-id"
RETRY_MS: Final = 10_000

_DIGEST: Final = 16  # bytes


class RetryName(NamedTuple):
    """The name of a request, which its retries share.

    id: 22 characters of A-Z a-z 0-9 - _. within_ms: how long the request is remembered.
    """

    id: str
    within_ms: int


def charged_once(kid: str, request: Request) -> RetryName | None:
    """Return the name of a request of a route that charges retries once.

    None if the request has none of the headers, or the value of the first is empty or longer than
    MAX_VALUE (255 bytes): then it is charged as any other. The key must be proven.
    """
    rule = request.route.charge_once
    if rule is None:
        return None
    for header in rule.headers:
        if header in request.headers:
            value = request.headers[header]
            if not 0 < len(value) <= MAX_VALUE:
                return None
            within = min(rule.within_ms, RETRY_MS) if header == X_REQUEST_ID else rule.within_ms
            return RetryName(_digest(kid, header, request, value), within)
    return None


def _digest(kid: str, header: str, request: Request, value: bytes) -> str:
    path = request.path.partition("?")[0]
    hashed = blake2b(digest_size=_DIGEST, person=b"authz.once")
    units = str(units_of(request.route.cost))
    for part in (kid, header, request.method, request.host.lower(), path, units):
        hashed.update(f"{len(part)}:{part}".encode("utf-8", "surrogatepass"))
    hashed.update(value)
    return urlsafe_b64encode(hashed.digest()).decode("ascii").rstrip("=")
