"""Find the one credential of a request, and every key that stands where it is not read.

Rules:
1. One credential. Two carriers with a key, a duplicate or a comma-joined header: AMBIGUOUS.
2. An Authorization with none of our keys is somebody else's: neither a credential nor removed. So
   an imported key, which says nothing of itself, is read only from carriers without a scheme. With
   a prefix that the settings declare it is read from every carrier.
3. A key of ours in any other form in a carrier is MISPLACED: it must not reach a backend. So that
   is refused on routes where a key is optional, and beside a good key.
4. The query is split at the first `?`, at `&` and at `=`, never by a URL parser.
5. A client may write 60 KiB into one header: the work on a value is linear in its length.
"""

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final
from urllib.parse import unquote

from authz.core.decision import Deny, Reason
from authz.core.keys.credentials import Imported, Presented
from authz.core.keys.keyring import Keyring
from authz.core.keys.text import any_spelling
from authz.core.request import IN_QUERY, Headers, header_text, text_of
from authz.core.tokens.presented import PresentedToken
from authz.rpc.check.strip import Strip

Credential = Presented | Imported | PresentedToken | Deny | None

AMBIGUOUS: Final = Deny(Reason.AMBIGUOUS_CREDENTIAL)
MALFORMED: Final = Deny(Reason.MALFORMED)
MISPLACED: Final = Deny(Reason.MISPLACED_CREDENTIAL)
UNRECOGNIZED: Final = Deny(Reason.UNRECOGNIZED_CREDENTIAL)

BASIC_USERNAME: Final = "basic:username"

MAX_BASIC: Final = 4  # Basic credentials of one header
MAX_BASIC_TEXT: Final = 4096  # characters of one, in base64

_BASIC: Final = re.compile(r"basic[ \t]+([^,]*)", re.IGNORECASE | re.ASCII)
_NOT_BASE64: Final = re.compile(r"[^A-Za-z0-9+/]+", re.ASCII)
_URL_SAFE: Final = str.maketrans("-_", "+/")


class CredentialReader:
    """Reads the credentials of one installation.

    carriers: `header:`, `header:scheme` or `basic:username`, lower case. query: a parameter that
    may hold the key, or empty.
    """

    def __init__(self, keyring: Keyring, carriers: Iterable[str], query: str) -> None:
        self._parse = keyring.parse
        self._parse_imported = keyring.parse_imported
        self._parse_token = keyring.parse_token
        self._declares = keyring.declares
        self._shows_key = keyring.shows_key
        self._shows_escaped = keyring.shows_escaped
        self._shows_encoded = keyring.shows_encoded
        self._headers: list[tuple[str, _Schemes | None]] = []
        given = list(carriers)
        for name in dict.fromkeys(map(header_of, given)):
            of_this = [text for text in given if header_of(text) == name]
            is_bare = f"{name}:" in of_this
            self._headers.append((name, None if is_bare else _Schemes(keyring, of_this)))
        # `_name` finds a parameter with a value whose name some backend reads as that of ours. Each
        # begins with a sign, the first too: to search for that takes a tenth of the time.
        self._name = re.compile(rf"([&;])({any_spelling(query)})=[^&;]") if query else None
        self._query = query
        self._parameter = re.compile(rf"&{re.escape(query)}=([^&]+)") if query else None

    @property
    def header_names(self) -> list[str]:
        """The headers that `find` reads, in lower case."""
        return [name for name, _ in self._headers]

    def find(self, headers: Headers, path: str, *, optional: bool) -> tuple[Credential, str]:
        """Return the credential, and its carrier: a header, IN_QUERY, or empty.

        A credential is one of our keys that parses, a text that begins as our tokens do, an
        imported key, a Deny, or None without any. The carrier is empty for a Deny and for None.
        optional: the route needs no key, so a token that is not ours counts as None.
        """
        found: str | Deny = ""
        carrier, is_bare = "", True
        for name, schemes in self._headers:
            if name in headers:
                try:
                    text = headers[name].decode()
                except UnicodeDecodeError:
                    text = text_of(headers[name])
                value = text if schemes is None else schemes.read(text)
                if found:
                    value = _one_of(found, value)
                if value:
                    found, carrier, is_bare = value, name, schemes is None
        if self._parameter is not None and "?" in path:
            value = self._in_query(self._parameter, "&" + path.partition("?")[2])
            if value:
                found, carrier, is_bare = _one_of(found, value), IN_QUERY, True
        if not isinstance(found, str):
            return (None if optional and found is UNRECOGNIZED else found), ""
        if not found:
            return None, ""
        ours = self._parse(found)
        return self._foreign(found, carrier, is_bare=is_bare) if ours is None else (ours, carrier)

    def find_all(self, headers: Headers, path: str) -> Strip | None:
        """Return the carriers to remove from a request that is refused.

        These are the headers with a scheme, and the query parameter, that hold a key of ours in any
        form. None if a key stands in the query where the removal of the parameter would leave it.
        Headers without a scheme are not listed: every allow removes them.
        """
        shared = [(name, schemes) for name, schemes in self._headers if schemes is not None]
        held = [n for n, s in shared if s.read(header_text(headers, n)) not in ("", UNRECOGNIZED)]
        in_query = False
        if self._parameter is not None and "?" in path:
            query = "&" + path.partition("?")[2]
            in_query = bool(self._in_query(self._parameter, query))
            if in_query and self._is_elsewhere(self._parameter.sub("", query)):
                return None
        return Strip(tuple(held), query=in_query)

    def _foreign(self, found: str, carrier: str, *, is_bare: bool) -> tuple[Credential, str]:
        """Return the token or imported key in a text that is not one of our keys, or a refusal.

        AMBIGUOUS with a comma. MALFORMED if the text is no imported key, or if the carrier has a
        scheme and the text has no declared prefix. And the carrier; it is empty for a refusal.
        """
        if "," in found:
            return AMBIGUOUS, ""
        credential: Credential = self._parse_token(found)
        if credential is None and (is_bare or self._declares(found)):
            # In a query some characters of a key are written as %2B and the like.
            text = unquote(found) if carrier == IN_QUERY else found
            credential = self._parse_imported(text)
        return (MALFORMED, "") if credential is None else (credential, carrier)

    def _in_query(self, parameter: re.Pattern[str], query: str) -> str | Deny:
        """Return the text of the parameter, empty if it is absent or empty, or a refusal.

        AMBIGUOUS if the parameter is repeated, or if a key also stands elsewhere in the query.
        MISPLACED if a key stands only elsewhere. query: with a `&` before it.
        """
        values = parameter.findall(query)
        if len(values) > 1:
            return AMBIGUOUS
        if self._is_elsewhere(parameter.sub("", query)):
            return AMBIGUOUS if values else MISPLACED
        return "".join(values)

    def _is_elsewhere(self, query: str) -> bool:
        """Return whether a query shows a key, or a parameter that some backend takes for ours.

        An imported key does not show itself: it is known by the name of its parameter.
        """
        if self._shows_key(query) or self._shows_escaped(query) or self._shows_encoded(query):
            return True
        found = self._name.findall(query) if self._name is not None else ()
        return any(before == ";" or name != self._query for before, name in found)


def _one_of(first: str | Deny, second: str | Deny) -> str | Deny:
    """Return `second` if `first` has no key, empty if only `first` has one, AMBIGUOUS if both have.

    Empty and UNRECOGNIZED are no key.
    """
    if not first or first is UNRECOGNIZED:
        return second
    return "" if not second or second is UNRECOGNIZED else AMBIGUOUS


class _Schemes:
    """A header whose values begin with a scheme, such as Authorization."""

    def __init__(self, keyring: Keyring, carriers: Iterable[str]) -> None:
        schemes = [text.partition(":")[2] for text in carriers if text != BASIC_USERNAME]
        self._claims = keyring.claims
        self._shows_key = keyring.shows_key
        self._shows_escaped = keyring.shows_escaped
        self._shows_encoded = keyring.shows_encoded
        self._has_basic = BASIC_USERNAME in carriers
        names = "|".join(map(re.escape, schemes))
        self._token = (
            re.compile(rf"(?:{names}) +([^,]*)", re.IGNORECASE | re.ASCII) if schemes else None
        )

    def read(self, value: str) -> str | Deny:
        """Return the token or Basic user name that looks like one of our keys, or empty without.

        UNRECOGNIZED if another token follows one of the schemes, MISPLACED if one of our keys
        stands in another form, else as `_read_basic`. A comma-joined value with a key is returned
        whole, so that parsing fails.
        """
        tokens = list(_after(self._token, value)) if self._token is not None else []
        ours = [token for token in tokens if self._claims(token)]
        if ours:
            return value if "," in value else ours[0].rstrip(" ")
        if self._shows_key(value) or ("%" in value and self._shows_escaped(value)):
            return MISPLACED
        if "basic" in value.lower() and (found := self._read_basic(value)):
            return found
        if self._shows_encoded(value):
            return MISPLACED
        return UNRECOGNIZED if any(token.strip() for token in tokens) else ""

    def _read_basic(self, value: str) -> str | Deny:
        """Return a user name that looks like our key, or empty if no Basic credential shows a key.

        MISPLACED if a credential shows a key that is not read: in the password, in a value with a
        comma, or without the carrier `basic:username`. Also if a credential exceeds MAX_BASIC_TEXT
        (4096) characters. AMBIGUOUS for more than MAX_BASIC (4) credentials.
        """
        found = list(islice(_after(_BASIC, value), MAX_BASIC + 1))
        if len(found) > MAX_BASIC:
            return AMBIGUOUS
        if any(len(encoded) > MAX_BASIC_TEXT for encoded in found):
            return MISPLACED  # it may hide a key, and nobody needs so long a password
        for encoded in found:
            shown = _decoded(encoded)
            user, colon, password = shown.partition(":")
            is_read = self._has_basic and colon and self._claims(user) and "," not in value
            if is_read and not self._shows_key(password):
                return user
            if self._shows_key(shown):
                return MISPLACED
        return ""


def _after(scheme: re.Pattern[str], value: str) -> Iterator[str]:
    """Yield group 1 of each match of `scheme` at the beginning of the value or after a comma.

    The scheme is searched for, and then what stands before it is looked at: to try each comma takes
    five times as long where a client sends thousands.
    """
    for found in scheme.finditer(value):
        start = found.start()
        if not start or not value[value.rfind(",", 0, start) + 1 : start].strip(" \t"):
            yield found[1]


def _decoded(encoded: str) -> str:
    """Decode base64 as the most lenient reader does: either alphabet, any padding, odd bytes."""
    text = _NOT_BASE64.sub("", encoded.translate(_URL_SAFE))
    whole = text[: len(text) - (len(text) % 4 == 1)]
    return b64decode(whole + "=" * (-len(whole) % 4)).decode("utf-8", "replace")


def header_of(carrier: str) -> str:
    """Return `authorization` for the carrier `basic:username`, else the text before the colon."""
    return "authorization" if carrier == BASIC_USERNAME else carrier.partition(":")[0]
