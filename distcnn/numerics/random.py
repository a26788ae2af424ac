"""Randomness as a function, never a state: the same arguments give the same words on every rank and machine.

The words are those of Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), raw:
NumPy promises a bit generator's stream for ever, but not the numbers that it derives from it. The key is
(seed, purpose), the counter starts at (1, 0, 0, epoch), lowest word first; each value of it is
four words.
"""

import numpy as np

# Purposes; a number, once given, never changes its meaning.
ORDER, WEIGHTS, AUGMENTATION, DROPOUT, CODES, VALIDATION = range(6)


def words(seed: int, purpose: int, epoch: int, count: int) -> np.ndarray:
    """Return the first `count` words, uint64 [count], for a seed from 0 to 2**64 - 1."""
    key = np.array([seed, purpose], np.uint64)
    counter = np.array([0, 0, 0, epoch], np.uint64)  # NumPy adds 1 before it draws the first words
    return np.random.Philox(key=key, counter=counter).random_raw(count)
