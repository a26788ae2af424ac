"""Everything that depends on MPI ranks: communicators, partition of blocks, allreduce, shared memory, heartbeats."""
