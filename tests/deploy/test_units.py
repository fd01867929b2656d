"""The units of systemd beside the sidecar: the meter and the admin API."""

import pytest

from authz.settings import model
from tests.support.deploy.manifests import K8S
from tests.support.deploy.systemctl import Unit

SYSTEMD = K8S.parent / "systemd"
UNITS = ("authz-meter", "authz-admin")


def text(name: str) -> str:
    """Return the unit file."""
    return (SYSTEMD / f"{name}.service").read_text()


@pytest.mark.parametrize("name", UNITS)
def test_it_is_confined_like_a_sidecar(name):
    """From the user on, only the runtime directory differs from a sidecar's unit."""
    sidecar, own = text("authz@").partition("\nUser=")[2], text(name).partition("\nUser=")[2]
    directory = f"RuntimeDirectory={name.replace('-', '/')}"
    assert own == sidecar.replace("RuntimeDirectory=authz/%i", directory)


@pytest.mark.parametrize("name", UNITS)
def test_it_has_a_user_of_the_store(name):
    """Its settings are those of the sidecars, with another user, and the files that it loads."""
    unit = Unit(name, (SYSTEMD,))
    environ = dict(pair.split("=", 1) for pair in unit.all("Environment"))
    assert environ.pop("AUTHZ_CONFIG") == "/etc/authz/authz.yaml"
    settings = model.load(SYSTEMD / "authz.yaml", environ=environ)
    assert settings.redis.username == name
    loaded = dict(pair.split(":", 1) for pair in unit.all("LoadCredential"))
    assert loaded["store"] == f"/etc/authz/store/{name.removeprefix('authz-')}"
    # A meter needs no pepper.
    peppers = settings.keys.peppers if name == "authz-admin" else []
    files = [settings.redis.password_file, *(pepper.file for pepper in peppers)]
    assert set(loaded) == {file.name for file in files}
    assert ("AUTHZ_KEYS__PEPPERS" in environ) is bool(peppers)
