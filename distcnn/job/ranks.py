"""The ranks of a program of the user's that calls distcnn: all of the job, or this process alone."""

from __future__ import annotations

import os
import re
import sys
from functools import cache

from distcnn.parallel.comm import Comm
from distcnn.parallel.serial import SerialComm
from distcnn.parallel.ulfm import ulfm_comm
from distcnn.parallel.world import world

# The variables in which launchers, known to `world` or not, say that they have started a process.
LAUNCHED = re.compile("(PMI|PMIX|PALS|FLUX|MV2|ALPS|MPI|OMPI_COMM_WORLD|SLURM_STEP)_.*")


@cache
def ranks() -> Comm:
    """Return the communicator of all ranks, the same one at each call, as it remembers which ranks have died.

    A process that no launcher has started, such as a notebook's, is alone, and MPI is not initialized.
    """
    uses_mpi = "mpi4py.MPI" in sys.modules
    if uses_mpi or any(LAUNCHED.fullmatch(name) for name in os.environ):
        return ulfm_comm(world())
    return SerialComm()
