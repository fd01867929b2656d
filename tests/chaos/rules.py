"""The settings file of a sidecar in a run: two rules, whose scopes a reload exchanges."""

import random
from enum import StrEnum

import yaml

HELD, LACKED = "chaos:held", "chaos:lacked"  # each key of a run holds the first one
PATHS = ("/one", "/two")


class Rules(StrEnum):
    """Which of the two paths the keys may use."""

    FIRST = "first"
    SECOND = "second"

    def other(self) -> "Rules":
        """Return the rules after a reload."""
        return Rules.SECOND if self is Rules.FIRST else Rules.FIRST

    def allows(self, path: int) -> bool:
        """Return whether a key may use the path of this number in PATHS."""
        return path == list(Rules).index(self)


def settings_text(rules: Rules) -> str:
    """Return a settings file. Its last line denies the paths without a rule."""
    routes = [
        {"path": path, "scopes": HELD if rules.allows(number) else LACKED}
        for number, path in enumerate(PATHS)
    ]
    quiet = {"log": {"level": "WARNING"}}
    return yaml.safe_dump(quiet | {"routes": routes, "routes_default": "deny"})


def spoiled(rules: Rules, dice: random.Random) -> str:
    """Return such a file with a mistake. Most of them ask less of a request if they are used."""
    text = settings_text(rules)
    lines = text.splitlines(keepends=True)
    return dice.choice(
        (
            "".join(lines[: dice.randrange(len(lines))]),
            text + "routes: [\n",
            text.replace(PATHS[0], "no slash"),
            text.replace("deny", "perhaps"),
            text + "unknown: 1\n",
        )
    )
