"""Random words as a pure function, without a generator state: they are the same on every rank and machine.

The words are the raw output of Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): NumPy
guarantees that the words of a bit generator never change, but not the numbers that it derives from them. The key is
(seed, purpose). The counter starts at (1, 0, stream, epoch), lowest word first; each value of the counter gives four
words.
"""

import numpy as np

# Purposes. A purpose never gets another number, since every random word depends on it.
ORDER, WEIGHTS, AUGMENTATION, DROPOUT, CODES, VALIDATION = range(6)
UNIT_ORDER, UNIT_ROTATION, WINDOW_ORDER, VALIDATION_UNITS = range(6, 10)  # of streamed files


def words(seed: int, purpose: int, epoch: int, count: int, stream: int = 0) -> np.ndarray:
    """Return random words, uint64 [count].

    seed: from 0 to 2**64 - 1.
    purpose: one of the constants above; different purposes give independent words.
    epoch: the epoch, or any other number; different numbers give independent words.
    count: how many words to return.
    stream: different numbers give independent words, too.
    """
    key = np.array([seed, purpose], np.uint64)
    counter = np.array([0, 0, stream, epoch], np.uint64)  # NumPy adds 1 before it draws the first words
    return np.random.Philox(key=key, counter=counter).random_raw(count)
