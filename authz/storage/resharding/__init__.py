"""The move of a store with one partition to several, in place, while it is used.

Rules:
1. Nothing trusts the new partitions before their authz:meta, which is written last. Until the move
   is decided the old store has all data, and a run that fails or is cancelled leaves it as it was.
2. What is copied while the store is used is compared again, name by name, by a digest of value and
   time to live, until little differs. Then the store is frozen, and compared once more.
3. A frozen store refuses every change: see freezing.py. So the last comparison is exact.
4. One write decides the move. From then on a repeated run only ends it.
5. One run at a time, by a lease. Its writes to new partitions are made only while their marker
   names this run, so a run that lost its lease writes nothing more.
"""
