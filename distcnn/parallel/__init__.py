"""All that knows about ranks: communicators, the partition of blocks, sums over ranks, shared memory, heartbeats."""
