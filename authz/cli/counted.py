"""Numbers of things in words."""


def counted(number: int, noun: str) -> str:
    """Return `1 file` or `2 files`; of a longer noun its first word is counted: `2 files here`."""
    first, *others = noun.split(" ")
    return " ".join((str(number), f"{first}{'' if number == 1 else 's'}", *others))
