"""TokenBucket: a rate limit that allows bursts of at most one second's tokens."""

from math import inf


class TokenBucket:
    """`rate` tokens a second, above 0. It holds at most the tokens of one second, or one token.

    Time is an argument. A borrowed token is paid back before another is given, so borrowing does
    not raise the rate.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = self._tokens = max(rate, 1.0)
        self._at: float | None = None
        self._none_before = -inf  # makes a refusal cheap: in a flood nearly every call is one

    def take(self, now: float) -> bool:
        """Take one token and return True, or return False if there is less than one.

        `now`: seconds. A time before the last call adds no tokens.
        """
        if now < self._none_before:
            return False
        if self._at is not None:
            self._tokens = min(self._most, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            self._none_before = now + (1 - self._tokens) / self._rate
            return False
        self._tokens -= 1
        return True

    def borrow(self, most: int) -> bool:
        """Take a token, even if there is none, and return True.

        Return False and take nothing if more than `most` tokens would be owed then. Only `take`
        refills.
        """
        if self._tokens - 1 < -most:
            return False
        self._tokens -= 1
        return True
