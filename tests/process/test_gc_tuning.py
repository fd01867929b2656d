"""The garbage collector skips frozen objects and still finds later cycles."""

import subprocess
import sys

CHECK = """
import gc, weakref
from authz.process.gc_tuning import THRESHOLDS, tune_gc

class Node:
    pass

stays = [Node() for _ in range(10_000)]
tune_gc()
assert gc.get_freeze_count() > 10_000 and gc.get_threshold() == THRESHOLDS
node = Node()
node.itself, seen = node, weakref.ref(node)
del node
kept = []
while seen() is not None:
    kept.append(Node())
    assert len(kept) <= THRESHOLDS[0] + 1
"""


def test_what_exists_is_frozen_and_a_later_cycle_is_found():
    """A later cycle is found within the threshold of new objects."""
    subprocess.run([sys.executable, "-c", CHECK], check=True)
