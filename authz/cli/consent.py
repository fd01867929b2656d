"""The consent of a person to a change that cannot be taken back."""

import sys

import click

from authz.core.errors import BadInput


def can_ask() -> bool:
    """Return whether somebody can answer a question: stdin and stderr are terminals."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def refuse_unasked() -> None:
    """Raise BadInput, which names --yes, if nobody can answer a question."""
    if not can_ask():
        raise BadInput("--yes", "is needed where nobody can confirm, as in a script")


def require_consent(question: str, refusal: str) -> None:
    """Return only if the answer is yes. refusal: what is said after a no.

    Raises ClickException after a no, BadInput if nobody can answer.
    """
    refuse_unasked()
    if not click.confirm(question, err=True):
        raise click.ClickException(refusal)
