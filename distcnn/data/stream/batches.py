"""The blocks of each batch that a rank computes, of a split that is streamed."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from distcnn.data.batches import Batches
from distcnn.data.splits import Split
from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.limits import require_memory
from distcnn.data.stream.order import Order, window_units
from distcnn.data.stream.reader import LoadedWindow, Reader
from distcnn.errors import DataError
from distcnn.kernels.jit import Kernel
from distcnn.kernels.sorting import sort_by_words
from distcnn.lanes import LANES
from distcnn.network.plan import Block


class StreamedBatches(Batches):
    """The batches of a split that is streamed; a thread reads ahead of the steps.

    split: the samples; its images are a StreamedImages.
    batch_size, seed, rank, size, group: as of Batches.
    window: the size of the windows of all positions together, in bytes.
    epochs: nothing is read for epochs from this number on.

    Raises LaunchError as Batches.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        rank: int,
        size: int,
        group: int = 1,
        *,
        window: int,
        epochs: int,
    ) -> None:
        super().__init__(split, batch_size, seed, rank, size, group)
        assert isinstance(split.images, StreamedImages)
        images = self._images = split.images
        self._most = window_units(window, self.positions, images.units.largest * images.image_bytes)
        sizes = images.units.size
        self._order = partial(Order, seed, sizes=sizes, batch_size=batch_size, most=self._most)
        self._epochs = epochs
        self._reader: Reader | None = None
        self._next = 0  # the step that the reader is to be asked for next, counted over all epochs

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[Block]]:
        """Yield the blocks of each batch of an epoch, as Batches does; `failure` says why if that cannot go on."""
        for step in range(first, self.length):
            try:
                blocks = self._blocks(self._reader_at(epoch, step), epoch, step)
            except DataError as error:
                self.failure = error
                blocks = []
            yield blocks

    @property
    def kernels(self) -> list[Kernel]:
        """All kernels that compute the order of samples, to be compiled."""
        return [sort_by_words]

    def require_memory(self) -> None:
        """Raise DataError if the windows of this rank need too much memory.

        This is not asked again when ranks have died, as those that remain shall go on.
        """
        require_memory(self._images, len(self.share), self.positions, self._most)

    def close(self) -> None:
        """End the thread that reads ahead."""
        if self._reader:
            self._end()
            self._reader = None

    def _reader_at(self, epoch: int, step: int) -> Reader:
        """Return a reader that reads ahead from a step of an epoch on: the present one, unless steps were left out."""
        begin = epoch * self.length + step
        if not self._reader or begin != self._next:
            self.close()
            epochs = range(epoch, max(epoch + 1, self._epochs))
            self._reader = Reader(self._images, self._order, self.share, self.length, epochs, begin)
            # The thread does not outlive these batches; once called, this no longer holds the windows.
            self._end = weakref.finalize(self, self._reader.close)
        self._next = begin + 1
        return self._reader

    def _blocks(self, reader: Reader, epoch: int, step: int) -> list[Block]:
        """Return this rank's blocks of a batch, once their samples are read."""
        order, blocks = reader.wait(epoch, step), []
        for place, position in enumerate(self.share):
            begin, end = order.places(position, step)
            if begin < end:
                blocks.append(self._block(reader.windows_of(place), begin, end))
        return blocks

    def _block(self, windows: Sequence[LoadedWindow], begin: int, end: int) -> Block:
        """Return the block with places [begin, end) of the line of samples.

        windows: those of the position, from the first one that the block needs.
        """
        labels, window = self.split.labels, windows[0]
        if end <= window.end:
            part = slice(begin - window.begin, end - window.begin)
            make = Block.full if end - begin == LANES else Block.of
            return make(window.images, labels, window.samples[part], window.rows[part])
        images, samples = [], []
        while begin < end:
            window = windows[len(images)]
            part = slice(begin - window.begin, end - window.begin)
            images.append(window.images[window.rows[part]])
            samples.append(window.samples[part])
            begin = window.end
        rows = np.arange(sum(map(len, samples)))
        return Block.of(np.concatenate(images), labels, np.concatenate(samples), rows)
