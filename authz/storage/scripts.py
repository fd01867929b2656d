"""The texts of the scripts in lua/."""

from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).with_name("lua")


def script(*names: str) -> str:
    """Read these scripts of lua/ and return their texts, joined in this order.

    names: without `.lua`. A script that makes a change needs `change_steps` before it.
    """
    return "".join((_FOLDER / f"{name}.lua").read_text() for name in names)
