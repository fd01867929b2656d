"""The check of commands in documents, on which other tests rely."""

import pytest

from tests.support.cli.commands import misunderstood


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("authz", ""),
        ("authz --config F keys show KID --json | jq .", ""),
        ("authz keys issue --client a --scope=b  # a remark --nonsense", ""),
        ("authz COMMAND --help", ""),
        ("authz --redis keys init", ""),
        ("authz serve --nonsense", "--nonsense"),
        ("authz serve --client a", "--client"),
        ("authz nonsense", "nonsense"),
        ("authz keys nonsense KID", "nonsense"),
        ("authz --redis URL keys revoke KID --nonsense=1", "--nonsense=1"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line: str, word: str) -> None:
    """A wrong command, and an option of another command, are found."""
    assert misunderstood(line) == word
