"""Read a file of which the command knows how long it may be."""

from pathlib import Path

from authz.core.errors import BadInput


def read_bounded(option: str, file: str, most: int) -> bytes:
    """Return the content of a file. `option` names it in messages.

    Raises BadInput if it cannot be read or has more than `most` bytes. A device or a pipe without
    an end is not read further than that.
    """
    try:
        with Path(file).open("rb") as source:
            content = source.read(most + 1)
    except OSError as cause:
        raise BadInput(option, f"{file}: {cause.strerror}") from None
    if len(content) > most:
        raise BadInput(option, f"{file}: more than {most} bytes")
    return content


def read_ascii(option: str, file: str, most: int) -> str:
    """Return the text of a file. Raises BadInput as `read_bounded`, and if it is not ASCII."""
    try:
        return read_bounded(option, file, most).decode("ascii")
    except UnicodeDecodeError:
        raise BadInput(option, f"{file} is not a file of ASCII text") from None
