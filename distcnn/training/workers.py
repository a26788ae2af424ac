"""The threads of a rank: blocks side by side, with the same bits for any number of threads.

Each thread has a hand: a net over the same weights with sums and plans of its own. Exact sums may be added in any
order, so that it does not matter which hand has done which block.
"""

from threading import BrokenBarrierError

from distcnn.kernels.float_mode import ieee_mode
from distcnn.kernels.pointwise import move_sums
from distcnn.network.group_plan import partition_unit
from distcnn.parallel.partition import block_range
from distcnn.resilience.diagnose import note_blocks
from distcnn.training.sync_batchnorm import exchanges


class WorkerPool:
    """The hands of a rank, of which the first is its net; with one hand there are no threads.

    What is done for the caller, such as telling others that a part of the sums is final, is done by its own thread.
    """

    def __init__(self, net, threads=1):
        self.net, self.workers = net, [net, *(net.worker_copy() for _ in range(threads - 1))]
        self._pool = _pool(threads - 1) if threads > 1 else None

    @property
    def threads(self):
        """How many hands there are."""
        return len(self.workers)

    def train(self, blocks, positions, epoch, note, done, first=0, add=None):
        """Add the blocks' loss, counts and gradients to the net's sums.

        positions: the blocks of the batch over all ranks; first: the position of this rank's first; note(group) is
        called before each group of blocks; done(offset), by which finished sums travel while the last group is
        computed, is called if there is one hand alone; it may be None. add: as in
        distcnn.training.sync_batchnorm, for a group that is the whole batch. An exception tells which blocks were in
        hand, see distcnn.resilience.diagnose.
        """
        size = partition_unit(self.net.norm_group)
        shares = [block_range(len(blocks), k, self.threads, size) for k in range(self.threads)]
        places = exchanges(self.net.norm_group, [*map(len, shares)], first, positions, add)

        def work(k, worker):
            groups, place = worker.groups([blocks[i] for i in shares[k]]), first + shares[k].start
            with ieee_mode(), places[k] as exchange:
                worker.start(positions, epoch)
                for group in groups:
                    last = self.threads == 1 and group is groups[-1]
                    try:
                        note(group)
                        worker.train_group(group, done if last else None, exchange)
                    except Exception as error:
                        note_blocks(error, group, place)
                        raise
                    place += len(group)

        self.map(work)
        if self.threads > 1:
            self.map(self._collect)

    def clear(self):
        """Clear all sums, as what failed may have left some."""
        for worker in self.workers:
            worker.sums[:] = 0

    def compile(self):
        """Make the plans of all hands, for training and for evaluation."""
        for worker in self.workers:
            _ = worker.group, worker.inference
        if self.threads > 1:
            move_sums.compiled  # noqa: B018

    def map(self, work):
        """Call work(k, hand) for all hands at the same time; raise what one of them raises when all have ended."""
        others, failures = (
            [self._pool.submit(work, k, worker) for k, worker in enumerate(self.workers) if k],
            [],
        )
        try:
            work(0, self.net)
        except BaseException as error:
            failures.append(error)
        failures += filter(None, [other.exception() for other in others])
        if failures:  # rather a cause than those who waited in vain for the one that failed
            raise min(failures, key=lambda error: isinstance(error, BrokenBarrierError))

    def _collect(self, k, _):
        """Add a share of all hands' sums to the net's, and clear it."""
        share = block_range(len(self.net.sums), k, self.threads)
        for other in self.workers[1:]:
            move_sums(self.net.sums[share.start : share.stop], other.sums[share.start : share.stop])


def _pool(threads):
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads, "hand")
