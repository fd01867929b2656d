"""BoundedLoader: PyYAML's loader in C, with a bound on values in each other."""

from typing import Any, Final

import yaml

MAX_DEPTH: Final = 100  # the parser's time grows with the square of the depth
TOO_DEEP: Final = f"more than {MAX_DEPTH} lists and sections in each other"


class BoundedLoader(yaml.CSafeLoader):
    """A safe loader that refuses values below MAX_DEPTH (100) others.

    The loader in C calls itself for each of them, and its stack would overflow.
    """

    _depth = 0

    def descend_resolver(self, current_node: yaml.Node | None, current_index: Any) -> None:
        """Count a value. Raises ComposerError if it is too deep."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = current_node.start_mark if current_node else None
            raise yaml.composer.ComposerError(None, None, TOO_DEEP, mark)
        super().descend_resolver(current_node, current_index)

    def ascend_resolver(self) -> None:
        """Leave a value."""
        self._depth -= 1
        super().ascend_resolver()
