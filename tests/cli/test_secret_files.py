"""SecretDirectory: a file for the secret of each key."""

import pytest

from authz.cli.secret_files import SecretDirectory
from authz.core.errors import Unavailable

KID = "7Hk2mQ9xT4bVzR1c"


def test_a_secret_that_cannot_be_removed(tmp_path) -> None:
    """A prepared secret that cannot be removed is reported by its path, as every other failure."""
    directory = SecretDirectory(tmp_path)
    directory.prepare(KID, "text")
    (tmp_path / f"{KID}.key.new").unlink()
    (tmp_path / f"{KID}.key.new").mkdir()
    with pytest.raises(Unavailable, match=rf"--secrets-to: .*{KID}\.key\.new: "):
        directory.discard(KID)
