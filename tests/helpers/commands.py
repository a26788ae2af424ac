"""Commands called in the processes of a test, which takes a tenth of the time that starting processes takes."""

import contextlib
import importlib
import subprocess
import sys
import tempfile

from distcnn.parallel import world


def call(comm, module, *words, main="main"):
    """Do what `mpirun python -m module words` does, on all ranks of a test; return exit code and output.

    What this cannot show is how processes start and end: the fixtures `run` and `mpirun` are for that.

    comm: the ranks of the test, all of the world.
    main: the name of the module's function that gets the communicator.
    """
    function = getattr(importlib.import_module(module), main)
    argv, files = sys.argv, [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115  (faulthandler keeps it)
    sys.argv = [module, *map(str, words)]
    comm.Barrier()
    try:
        with contextlib.redirect_stdout(files[0]), contextlib.redirect_stderr(files[1]):
            code = exit_code(function)
    finally:
        sys.argv = argv
    codes, out, err = zip(*comm.allgather((code, *map(text_of, files))), strict=True)
    assert len(set(codes)) == 1, f"exit codes {codes}: {''.join(err)}"
    return subprocess.CompletedProcess([module, *words], code, "".join(out), "".join(err))


def exit_code(main):
    """Call a command's `main` as the command does; return the exit code."""
    try:
        world.run(main)
    except SystemExit as end:
        return end.code


def text_of(file):
    """Return what was written to a file."""
    file.seek(0)
    return file.read()
