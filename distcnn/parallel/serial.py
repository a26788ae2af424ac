"""A communicator of one rank without MPI, so that one process runs on machines that have no MPI library."""

import sys


class SerialComm:
    """The part of mpi4py's communicator that distcnn uses, with the same names, for one rank."""

    rank = 0
    size = 1

    def bcast(self, value, root=0):
        return value

    def gather(self, value, root=0):
        return [value]

    def allgather(self, value):
        return [value]

    def Allreduce(self, send, receive):
        """Copy `send` to `receive`; None stands for in place, as in mpi4py."""
        if send is not None:
            receive[...] = send

    def Bcast(self, buffer, root=0):
        pass

    def Iallreduce(self, send, receive):
        self.Allreduce(send, receive)
        return Done()

    def Barrier(self):
        pass

    def Ibarrier(self):
        return Done()

    def Abort(self, code=1):
        sys.exit(code)


class Done:
    """A request that is complete."""

    def Test(self):
        return True

    def Wait(self):
        return True
