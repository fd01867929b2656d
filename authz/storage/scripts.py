"""The texts of the scripts in lua/."""

from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).with_name("lua")


def script(*names: str) -> str:
    """Return the texts of these scripts of lua/, one after the other.

    A script that makes a change stands after `change_steps`.
    """
    return "".join((_FOLDER / f"{name}.lua").read_text() for name in names)
