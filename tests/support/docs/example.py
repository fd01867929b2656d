"""Play an example of docs/examples: `python -m tests.support.docs.example NAME`."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

from tests.support.docs import ROOT
from tests.support.docs.console import Step, agree, steps
from tests.support.docs.tour import played

FOLDER: Final = ROOT / "docs" / "examples"
EXAMPLES: Final = sorted(page.parent.name for page in FOLDER.glob("*/README.md"))

_START: Final = re.compile(r"^authz dev (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Example:
    """An example. options: of the `authz dev` that its page begins with."""

    steps: list[Step]
    options: list[str]

    @classmethod
    def of(cls, name: str) -> Self:
        """Return the example of this name. Raises SystemExit if there is none."""
        if name not in EXAMPLES:
            raise SystemExit(f"there is no example {name!r}; there are {', '.join(EXAMPLES)}")
        page = (FOLDER / name / "README.md").read_text()
        (options,) = _START.findall(page)
        return cls(steps(page), options.split())

    def play(self) -> Iterator[tuple[Step, str, bool]]:
        """Yield each step with what its command printed, and whether the page shows that."""
        kids: dict[str, str] = {}
        with TemporaryDirectory(prefix="authz-example-") as directory:
            (Path(directory) / "docs").symlink_to(ROOT / "docs")
            outputs = played(self.steps, Path(directory), *self.options)
        for step, printed in zip(self.steps, outputs, strict=False):
            yield step, printed, agree(step.shown, printed, kids)


def main() -> None:
    """Print the commands and what they print. Exit with 1 if the page shows something else."""
    example = Example.of("".join(sys.argv[1:]))
    found = list(example.play())
    for step, printed, is_right in found:
        print(f"$ {step.command}")
        if printed:
            print(printed)
        if not is_right:
            print(f"the page shows:\n{step.shown}")
    is_whole = len(found) == len(example.steps) and all(is_right for *_, is_right in found)
    print("everything as the page shows it" if is_whole else "not as the page shows it")
    sys.exit(0 if is_whole else 1)


if __name__ == "__main__":
    main()
