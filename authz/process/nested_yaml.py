"""BoundedLoader: PyYAML's loader in C, with a bound on nesting."""

from typing import Any, Final

import yaml

MAX_DEPTH: Final = 100  # the parser's time grows with the square of the depth
TOO_DEEP: Final = f"lists and sections are nested more than {MAX_DEPTH} deep"


class BoundedLoader(yaml.CSafeLoader):
    """A safe loader that refuses values that are nested more than MAX_DEPTH (100) deep.

    The loader in C recurses at each level, so deeper nesting could overflow its stack.
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
        """Count that a value has ended."""
        self._depth -= 1
        super().ascend_resolver()
