"""Parts of a store with several partitions: each routes by kid, or merges. None with one."""
