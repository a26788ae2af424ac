"""Sort indices by random words, in a time that grows with their number alone."""

import numpy as np

from distcnn.kernels.jit import kernel


@kernel("u8:1C i8 i8:1C i8:1C")
def sort_by_words(words, bits, ends, order):
    """order = the indices of `words` by ascending word, those of equal words in ascending order.

    The highest bits of a word choose a bucket; within a bucket, indices are sorted by insertion. Any words are sorted,
    but quickly only those that are spread evenly over all 64-bit integers.

    bits: the number of these bits, 1 to 63; best about that of the bits of the number of words.
    ends: [2**bits], overwritten.
    """
    shift = np.uint64(64 - bits)
    ends[:] = 0
    for k in range(words.shape[0]):
        ends[words[k] >> shift] += 1
    begin = 0
    for bucket in range(ends.shape[0]):
        begin += ends[bucket]
        ends[bucket] = begin - ends[bucket]
    for k in range(words.shape[0]):
        bucket = words[k] >> shift
        order[ends[bucket]] = k
        ends[bucket] += 1
    for k in range(1, words.shape[0]):
        index, place = order[k], k
        while place > 0 and words[order[place - 1]] > words[index]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = index
