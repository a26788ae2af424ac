"""The type of a communicator: those methods of mpi4py's communicators that distcnn uses."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Request(Protocol):
    """A non-blocking call that was started, as `MPI.Request`."""

    def Test(self) -> bool:
        """Return whether the call is complete."""

    def Wait(self) -> bool:
        """Wait until the call is complete."""


class Comm(Protocol):
    """A communicator: `MPI.Comm`, a `UlfmComm` where ranks may fail, or a `SerialComm` where there is no MPI.

    Methods with names in lower case send any object that can be pickled, the others send contiguous arrays.
    """

    rank: int
    size: int

    def bcast(self, value: Any, root: int = 0, /) -> Any:
        """Return rank `root`'s value on every rank."""

    def gather(self, value: Any, root: int = 0, /) -> list | None:
        """Return the values of all ranks on rank `root`, and None on the others."""

    def allgather(self, value: Any, /) -> list:
        """Return the values of all ranks, in order of rank."""

    def Bcast(self, array: np.ndarray, root: int = 0, /) -> None:
        """Copy rank `root`'s array into the arrays of all other ranks."""

    def Allreduce(self, send: None, array: np.ndarray, /) -> None:
        """Add up an array over all ranks, in place."""

    def Iallreduce(self, send: None, array: np.ndarray, /) -> Request:
        """Start to add up an array over all ranks, in place."""

    def Ibarrier(self) -> Request:
        """Return a request that is complete once every rank has called this method."""

    def Barrier(self) -> None:
        """Wait, with the core busy, until every rank has called this method."""

    def Abort(self, code: int = 1, /) -> None:
        """End the job."""
