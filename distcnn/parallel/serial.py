"""A communicator of one rank without MPI, so that one process runs on machines that have no MPI library."""

from __future__ import annotations

import sys
from typing import Any


class SerialComm:
    """The part of mpi4py's communicator that distcnn uses, with the same names, for one rank."""

    rank = 0
    size = 1

    def bcast(self, value: Any, root: int = 0) -> Any:
        return value

    def gather(self, value: Any, root: int = 0) -> list:
        return [value]

    def allgather(self, value: Any) -> list:
        return [value]

    def Allreduce(self, send, receive) -> None:
        """Copy `send` to `receive`; None stands for in place, as in mpi4py."""
        if send is not None:
            receive[...] = send

    def Bcast(self, buffer, root: int = 0) -> None:
        pass

    def Iallreduce(self, send, receive) -> Done:
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
