"""The type of a communicator: what distcnn uses of mpi4py's, with the same names."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Request(Protocol):
    """A call that goes on while its caller does other things."""

    def Test(self) -> bool:
        """Return whether it is complete."""

    def Wait(self) -> bool:
        """Return when it is complete."""


class Comm(Protocol):
    """A communicator: `MPI.Comm`, a `UlfmComm` where ranks may fail, or a `SerialComm` where there is no MPI.

    Methods in lower case take any object that pickles, the others contiguous arrays.
    """

    rank: int
    size: int

    def bcast(self, value: Any, root: int = 0, /) -> Any:
        """Return the value of one rank, on all."""

    def gather(self, value: Any, root: int = 0, /) -> list | None:
        """Return every rank's value on one rank, None on the others."""

    def allgather(self, value: Any, /) -> list:
        """Return every rank's value."""

    def Bcast(self, array: np.ndarray, root: int = 0, /) -> None:
        """Copy the array of one rank into that of every other."""

    def Allreduce(self, send: None, array: np.ndarray, /) -> None:
        """Add up an array over all ranks, in place."""

    def Iallreduce(self, send: None, array: np.ndarray, /) -> Request:
        """Begin to add up an array over all ranks, in place."""

    def Ibarrier(self) -> Request:
        """Return a request that is complete when every rank has called this."""

    def Barrier(self) -> None:
        """Return when every rank has called this; the core is busy meanwhile."""

    def Abort(self, code: int = 1, /) -> None:
        """End the job."""
