"""Credentials of our user in the store: the password file, and the login for redis-py."""

from collections.abc import Callable
from pathlib import Path

from redis.credentials import CredentialProvider

from authz.core.errors import Unavailable
from authz.storage.refusals import LOGIN_MISSING, LOGIN_REFUSED


def read_password(file: Path | None) -> str:
    """Return the password in `redis.password_file`, "" without one.

    Raises Unavailable if it is unreadable.
    """
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as cause:
        problem = cause.strerror if isinstance(cause, OSError) else "not a text file"
        raise Unavailable(f"redis.password_file: {problem}: {file}") from None


def explained(text: str, file: Path | None) -> str:
    """Return a message in which a refused login names the setting that is missing or empty."""
    try:
        password = read_password(file)
    except Unavailable:
        return text
    if password:
        return text
    lack = "redis.password_file is not set" if file is None else f"{file} is empty"
    text = text.replace(LOGIN_MISSING, f"it wants a password (NOAUTH), and {lack}")
    unknown = f"it knows no such user without a password (WRONGPASS), and {lack}"
    return text.replace(LOGIN_REFUSED, unknown)


class Credentials(CredentialProvider):
    """The credentials for redis-py, which asks at every connect.

    login: returns user and password, or None without a login. Raises Unavailable.
    """

    def __init__(self, login: Callable[[], tuple[str, str] | None]) -> None:
        self._login = login

    def get_credentials(self) -> tuple[str, str]:
        """Return user and password: `default` and an empty password if no login is set.

        Raises Unavailable if the password file is unreadable.
        """
        return self._login() or ("default", "")

    async def get_credentials_async(self) -> tuple[str, str]:
        """Return the same as `get_credentials`."""
        return self.get_credentials()
