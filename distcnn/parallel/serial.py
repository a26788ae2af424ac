"""A communicator of one rank without MPI, so that one process runs on machines that have no MPI library."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


class SerialComm:
    """The communicator of one rank; `distcnn.parallel.comm.Comm` says what each method does."""

    rank = 0
    size = 1

    def bcast(self, value: Any, root: int = 0) -> Any:
        return value

    def gather(self, value: Any, root: int = 0) -> list:
        return [value]

    def allgather(self, value: Any) -> list:
        return [value]

    def Allreduce(self, send: np.ndarray | None, receive: np.ndarray) -> None:
        """Copy `send` to `receive`; if `send` is None, the sum is in place, as in mpi4py."""
        if send is not None:
            receive[...] = send

    def Bcast(self, buffer: np.ndarray, root: int = 0) -> None:
        pass

    def Iallreduce(self, send: np.ndarray | None, receive: np.ndarray) -> Done:
        self.Allreduce(send, receive)
        return Done()

    def Barrier(self) -> None:
        pass

    def Ibarrier(self) -> Done:
        return Done()

    def Abort(self, code: int = 1) -> None:
        sys.exit(code)


class Done:
    """A request that is complete."""

    def Test(self) -> bool:
        return True

    def Wait(self) -> bool:
        return True
