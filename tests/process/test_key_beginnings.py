"""Beginnings of keys are found as Python finds them, with each library."""

import importlib
import random
import sys
import types

import pytest

from authz.process import key_beginnings
from authz.process.key_beginnings import holder


@pytest.fixture(params=["ahocorasick-rs", "python"])
def library(request, monkeypatch):
    """The library that searches: that of the extra `scan`, or Python itself."""
    if request.param == "python":
        monkeypatch.setattr(key_beginnings, "quick", None)
    else:
        pytest.importorskip("ahocorasick_rs")
        assert key_beginnings.quick is not None


@pytest.mark.parametrize("texts", [(), (b"ak_",), (b"a_",), (b"ak_", b"zz-", "schlüssel".encode())])
def test_the_same_as_python(library, monkeypatch, texts):
    """Random bytes of which many are nearly a beginning, in every length and place."""
    monkeypatch.setattr(key_beginnings, "LARGE", 300)
    chance, holds = random.Random(1), holder(texts)
    letters = b"".join(texts) + b"a\x00\xffk" or b"a"
    for _ in range(5000):
        data = bytes(chance.choice(letters) for _ in range(chance.randrange(12)))
        if chance.random() < 0.5:
            filler = bytes([chance.choice(b"a \x00\xc3")]) * chance.randrange(400)
            data = filler + data + filler[: chance.randrange(70)]
        assert holds(data) is any(text in data for text in texts)


def test_an_earlier_version_of_the_library(monkeypatch):
    """A version that cannot search bytes counts as none."""
    with monkeypatch.context() as changed:
        changed.setitem(sys.modules, "ahocorasick_rs", types.ModuleType("ahocorasick_rs"))
        importlib.reload(key_beginnings)
        holds = key_beginnings.holder((b"ak_",))
        assert (holds(b"a ak_"), holds(b"a ak")) == (True, False)
    importlib.reload(key_beginnings)
