"""The worst of many samples, without keeping all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from distcnn.parallel.comm import Comm

MOST = 24  # samples that are kept


class Worst:
    """Keeps the samples with the largest values; of equal ones those that come first in the file.

    fields: the names of further numbers that are kept of each sample.

    rows: (-value, sample, further numbers ...) of the samples that are kept, the worst first.
    """

    def __init__(self, *fields: str) -> None:
        self.fields = fields
        self.rows: list[tuple] = []

    def add(self, values: np.ndarray, samples: np.ndarray, *fields: np.ndarray) -> None:
        """Take some samples into account.

        values: the larger, the worse; float [n].
        samples: their numbers, int [n].
        fields: the further numbers, each [n].
        """
        columns = [-values, samples, *fields]
        if len(self.rows) == MOST:
            worse = np.flatnonzero(columns[0] <= self.rows[-1][0])
            columns = [column[worse] for column in columns]
        self._keep(list(zip(*(column.tolist() for column in columns), strict=True)))

    def merge(self, comm: Comm) -> None:
        """Keep the worst samples of all ranks, on every rank. Collective."""
        parts = comm.allgather(self.rows)
        self.rows = []
        self._keep([row for part in parts for row in part])

    @property
    def record(self) -> list[dict[str, Any]]:
        """The samples as objects for JSON, the worst first."""
        return [dict(zip(("sample", *self.fields), row[1:], strict=True)) for row in self.rows]

    def _keep(self, rows: list[tuple]) -> None:
        """Keep the worst of the rows so far and of these; no two rows have the same sample."""
        if rows:
            self.rows = sorted(self.rows + rows)[:MOST]
