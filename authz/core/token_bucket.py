"""TokenBucket: at most so many a second, and after a rest a second's worth at once."""

from math import inf


class TokenBucket:
    """`rate` tokens a second, above 0; at most a second's worth kept. The time is an argument.

    What is borrowed is paid back before there is another: it bends the rate, and does not raise it.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = self._tokens = max(rate, 1.0)
        self._at: float | None = None
        self._none_before = -inf  # who is refused, in a flood nearly everyone, costs a comparison

    def take(self, now: float) -> bool:
        """Take one token, if there is a whole one. `now` in seconds; it does not go back."""
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
        """Take one although there is none, while no more than `most` are owed with it."""
        if self._tokens - 1 < -most:
            return False
        self._tokens -= 1
        return True
