"""Credentials of our user in the store, for redis-py."""

from collections.abc import Callable

from redis.credentials import CredentialProvider


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
