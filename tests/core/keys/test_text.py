"""Texts in which a key may be hidden."""

import re
from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from authz.core.keys.text import any_spelling, percent_decoded

TEXTS = st.text(st.sampled_from("%%%0123456789abcdefABCDEF=_ xg\r\n\u00e9")) | st.text()


@given(TEXTS)
def test_escapes_are_decoded_as_urllib_does(text: str) -> None:
    """Apart from `=`, line ends and the mark between two percent signs, both results are equal."""
    plain = re.sub("%(?=%)", "%\0", text).replace("=", "\0").replace("\r", " ").replace("\n", " ")
    # A sign that begins no escape becomes `=` in one and stays in the other.
    ours = percent_decoded(text).encode("latin-1")
    theirs = unquote_to_bytes(plain).replace(b"=", b"%")
    assert ours.replace(b"=", b"%") == (theirs.removesuffix(b"%") if text.endswith("%") else theirs)


@given(st.sampled_from(["api_key", "key", "api.key", "_key", ".k"]), st.data())
def test_every_spelling_of_a_name_is_found(name: str, data: st.DataObject) -> None:
    """Each character in either case or escaped, and the marks that PHP turns into `_`."""
    spelled = ""
    for character in name:
        marks = "_.+ " if character in "_." else character + character.upper()
        chosen = data.draw(st.sampled_from(marks))
        escaped = data.draw(st.booleans())
        spelled += f"%{ord(chosen):02{data.draw(st.sampled_from('xX'))}}" if escaped else chosen
    before = data.draw(st.sampled_from(["", "+", "%20", " ", " +", "%2b%20+"]))
    after = data.draw(st.sampled_from(["", "[]", "[a][0]", "%5B%5d"]))
    assert re.fullmatch(any_spelling(name), before + spelled + after)
    assert not re.fullmatch(any_spelling(name), spelled + "x")
    assert not re.fullmatch(any_spelling(name), "x" + spelled)
