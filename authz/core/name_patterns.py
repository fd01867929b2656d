"""Patterns and searches for names, in time that is linear in the name."""

from authz.core.errors import BadInput
from authz.core.fields import MAX_TEXT, shown


class Glob:
    """A pattern for names: `*` stands for any characters, `?` for one. Case matters.

    The parts between the `*` are looked up from left to right, each at its first place, so a match
    takes linear time.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        first, *rest = text.split("*")
        self._first = _Part(first)
        self._middle = tuple(_Part(part) for part in rest[:-1] if part)
        self._last = _Part(rest[-1]) if rest else None

    @classmethod
    def parse(cls, field_name: str, text: str) -> "Glob":
        """Return the pattern. Raises BadInput unless it is 1 to 256 printable characters."""
        if not 0 < len(text) <= MAX_TEXT or not text.isprintable():
            problem = f"{shown(text)}: a pattern of 1 to {MAX_TEXT} characters, such as 'shop-*'"
            raise BadInput(field_name, problem)
        return cls(text)

    def __repr__(self) -> str:
        return f"Glob({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Glob) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def matches(self, name: str) -> bool:
        """Return whether the whole `name` fits the pattern."""
        if self._last is None:
            return len(name) == len(self._first) and self._first.begins(name, 0)
        end = len(name) - len(self._last)
        if end < len(self._first) or not self._first.begins(name, 0):
            return False
        place = len(self._first)
        for part in self._middle:
            place = part.end_of_first(name, place, end)
            if place < 0:
                return False
        return self._last.begins(name, end)


class Search:
    """A text that is looked for in names, clients, projects and tenants. Case does not matter."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._folded = text.casefold()

    @classmethod
    def parse(cls, field_name: str, text: str) -> "Search":
        """Return the search. Raises BadInput unless it is 1 to 256 printable characters."""
        if not 0 < len(text) <= MAX_TEXT or not text.isprintable():
            problem = f"{shown(text)}: a text of 1 to {MAX_TEXT} characters, such as shop"
            raise BadInput(field_name, problem)
        return cls(text)

    def __repr__(self) -> str:
        return f"Search({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Search) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def matches(self, *texts: str) -> bool:
        """Return whether one of the texts contains it."""
        return any(self._folded in text.casefold() for text in texts)


class _Part:
    """A part of a pattern without `*`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_plain = "?" not in text
        # For the Shift-And algorithm: bit i of a mask says that place i accepts the character.
        self._any = sum(1 << place for place, char in enumerate(text) if char == "?")
        self._masks = {
            char: self._any | sum(1 << place for place, found in enumerate(text) if found == char)
            for char in set(text) - {"?"}
        }

    def __len__(self) -> int:
        return len(self._text)

    def begins(self, name: str, place: int) -> bool:
        if self._is_plain:
            return name.startswith(self._text, place)
        found = name[place : place + len(self._text)]
        return len(found) == len(self._text) and all(
            char in {"?", other} for char, other in zip(self._text, found, strict=True)
        )

    def end_of_first(self, name: str, start: int, stop: int) -> int:
        """Return the index in `name` after the first match in `name[start:stop]`, or -1.

        `?` in this part matches any character.
        """
        if self._is_plain:
            found = name.find(self._text, start, stop)
            return found if found < 0 else found + len(self._text)
        state, last = 0, 1 << (len(self._text) - 1)
        for place in range(start, stop):
            state = ((state << 1) | 1) & self._masks.get(name[place], self._any)
            if state & last:
                return place + 1
        return -1
