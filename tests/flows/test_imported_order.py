"""ImportedKeys under every order of requests, answers and notices, against the store's truth."""

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.decision import Allow, Reason
from authz.core.records import Secret
from tests.support.fakes import NOW, make_record
from tests.support.flows.imported import RING, ImportedRig

TEXTS = [f"foreign-key-{number:08}" for number in range(2)]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "answer", "answer", "import", "read", "tick", "flush"]),
        st.integers(0, len(TEXTS) - 1),
    ),
    min_size=10,
    max_size=40,
)


def record_of(number):
    """The record that an import of a text makes."""
    [(_, digest), _] = RING.parse_imported(TEXTS[number]).digests()
    secret = Secret("1", digest, "2", NOW)
    return digest, make_record(kid=f"{number:016}", secrets=(secret,))


async def play(steps):
    """Take the steps; each request with what was told of its key before it began."""
    rig = ImportedRig()
    rig.aliases.kids.clear()
    rig.source.records.clear()
    told, asked = set(), []
    for step, number in steps:
        if step == "ask":
            asked.append((number, number in told, rig.begin(TEXTS[number])))
        elif step == "answer" and rig.aliases.pending:
            digest = rig.aliases.pending[0][0][0]
            kid = rig.aliases.kids.get(digest)
            if kid is None:
                rig.aliases.answer(None)
            else:
                rig.aliases.answer_all()
        elif step == "read":
            rig.source.answer_all()
        elif step == "import":
            digest, record = record_of(number)
            rig.aliases.kids[digest] = record.kid
            rig.source.records[record.kid] = record
            rig.keys.forget(record.kid, revoked=False)
            told.add(number)
        elif step == "flush":
            rig.keys.flush()
        await asyncio.sleep(0)
    while not all(made.done() for *_, made in asked if isinstance(made, asyncio.Future)):
        await asyncio.sleep(0)
        rig.aliases.answer_all()
        rig.source.answer_all()
    return [
        (number, known, await made if isinstance(made, asyncio.Future) else made)
        for number, known, made in asked
    ]


@given(steps=STEPS)
@example(steps=[("ask", 0), ("answer", 0), ("tick", 0), ("import", 0), ("ask", 0)])
@example(steps=[("ask", 0), ("answer", 0), ("import", 0), ("ask", 0)])
def test_what_was_told_is_known(steps):
    """A key is allowed once its import was reported, and never as another key."""
    for number, known, decision in asyncio.run(play(steps)):
        if isinstance(decision, Allow):
            assert decision.key == record_of(number)[1]
        else:
            assert decision.reason in {Reason.UNKNOWN_KEY, Reason.UNAVAILABLE}
            assert not (known and decision.reason is Reason.UNKNOWN_KEY)
