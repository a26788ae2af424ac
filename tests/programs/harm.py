"""What programs that damage files share: options, a process for each file, and a table of what has happened."""

import argparse
import json
import os
import resource
import signal
import time
import traceback
from collections import Counter, defaultdict

from distcnn.data import sandbox, sandbox_probe
from distcnn.errors import UserError

SECONDS, MEMORY = 20, 2**30  # of processor time, and bytes beyond those at its start, that a use may take
WALL = 600  # seconds that a use may take, on a busy machine
LONGEST = 1000  # characters of a message
BAD = ("crash", "hang", "memory", "wrong", "exception", "lines")


def parser(count):
    """Return a parser of a program's options: how many cases to try, by default `count`, and the seed."""
    made = argparse.ArgumentParser()
    made.add_argument("count", type=int, nargs="?", default=count)
    made.add_argument("--seed", type=int, default=0)
    return made


# ---- a process for each file ----


def forked_probe(path, *names):
    """Probe a file in a fork, in place of a fresh process."""
    pid = os.fork()
    if pid == 0:
        _say_nothing()
        os._exit(sandbox_probe.main(str(path), *names))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "no"


def probe_in_forks():
    """Let the sandbox of HDF5 be a fork: Python takes longer to start than a small file to read."""
    sandbox.run_probe, sandbox_probe.SECONDS = forked_probe, 3


def tried(use):
    """Call use() in a process of its own, with limited memory and time; return a word for what happened, and a text.

    use: returns True if what it has read is right; it may raise UserError.
    """
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _use(use, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code in (-signal.SIGXCPU, -signal.SIGALRM):
        return "hang", ""
    if code:
        return "crash", signal.Signals(-code).name if code < 0 else str(code)
    if (used.ru_maxrss - begin) * 1024 > MEMORY:
        return "memory", f"{used.ru_maxrss / 1024:.0f} MiB"
    return json.loads(answer)


def _use(use, writing):
    """Write in a word what a use gives to a pipe, and end this process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(WALL)
    _say_nothing()
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 30))
    try:
        word = ("read", "") if use() else ("wrong", "")
    except UserError as error:
        word = ("lines" if "\n" in str(error) else "refused", str(error)[:LONGEST])
    except BaseException as error:
        word = "exception", f"{error!r} {traceback.format_exc()[-LONGEST:]}"
    os.write(writing, json.dumps(word).encode())
    os._exit(0)


def _say_nothing():
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)


class Harm:
    """Counts what has happened, in a table with a row for each kind of case.

    what: the heading of the rows.
    fine: words for what may happen.
    bad: words for what does harm; each case of it is printed at once.
    width: of the first column.
    """

    def __init__(self, what, fine, bad=BAD, width=12):
        self.what, self.columns, self.bad, self.width = what, (*fine, *bad), bad, width
        self.rows = defaultdict(Counter)
        self.begin = time.time()

    def add(self, kind, word, case):
        """Count a case, and print it if it has done harm; case: a line that describes it. Return whether it has."""
        self.rows[kind][word] += 1
        if word in self.bad:
            print(f"{kind} {case}", flush=True)
        return word in self.bad

    @property
    def seconds(self):
        """The seconds since the first case."""
        return time.time() - self.begin

    def report(self, tried):
        """Print the table; return 1 if there was harm, else 0; tried: how many cases of what, in words."""
        print(f"{self.what:{self.width}s}", *(f"{name:>9s}" for name in self.columns))
        for kind, row in self.rows.items():
            print(f"{kind:{self.width}s}", *(f"{row[name]:9d}" for name in self.columns))
        harm = sum(row[name] for row in self.rows.values() for name in self.bad)
        print(f"{tried}, {harm} did harm, {self.seconds:.0f} s", flush=True)
        return int(harm > 0)
