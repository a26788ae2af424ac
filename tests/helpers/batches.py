"""Tests on several ranks, many in one job of mpirun: starting the ranks takes longer than most of the tests.

The process of pytest that a person started has a `Batch` for each number of ranks. It starts mpirun once, with one
pytest a rank that runs all tests of the batch, and each rank's `Reporter` writes to a file what it begins and how
it ends. When a rank fails, hangs or dies, the job ends, the test that was running fails with the ranks' output,
and the tests after it run in a new job.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.helpers import jobs

FOLDER = "DISTCNN_TEST_REPORTS"  # an environment variable: where the ranks of a batch report
START = 300  # seconds in which all ranks must have collected the tests
END = "end"  # in place of a test's id: the tests of a rank have ended, and none has failed
COMMAND = "python", "-m", "pytest", "--with-mpi", "-q", "--no-header", "-p", "no:cacheprovider", "--color=no"
QUICK_START = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": 1}  # plugins take longer to start than most tests


class Outcome(NamedTuple):
    """How a test ended on all ranks."""

    kind: str  # passed, skipped, failed
    text: str = ""


class Batch:
    """Runs tests on a number of ranks, one after another, in as few jobs as possible.

    root: the folder that the tests' ids begin at.
    timeouts: the seconds that each test may take, by its id, in the order of the tests.
    """

    def __init__(self, ranks: int, root: Path, timeouts: dict[str, float]):
        self.ranks, self.root, self.timeouts = ranks, root, timeouts
        self.outcomes: dict[str, Outcome] = {}
        self.job = None

    def outcome(self, test: str) -> Outcome:
        """Wait until a test has run, and return how it ended."""
        while test not in self.outcomes:
            if self.job is None:
                self._start()
            self._observe()
        if self.job and not self._left():
            self._finish(test)
        return self.outcomes[test]

    def end(self) -> None:
        """Stop the job, if there is one."""
        if self.job:
            self.job.end()
            self.job = None
            self.folder.cleanup()

    def _left(self) -> list[str]:
        return [test for test in self.timeouts if test not in self.outcomes]

    def _start(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="distcnn-tests-")
        command = (jobs.launcher(), "-n", self.ranks, *COMMAND, *self._left())
        self.job = jobs.Job(*command, cwd=self.root, env=QUICK_START | {FOLDER: self.folder.name})
        self.seen, self.running, self.begun = (0, 0), None, time.monotonic()
        self.sizes, self.reports = [], [{}] * self.ranks

    def _observe(self) -> None:
        """Read what the ranks have reported; end the job, and fail its test, when there is no more to come."""
        ended = self.job.wait(0.01)
        reports = self._reports()
        for test in self._left():
            ends = [report.get(test) for report in reports]
            if all(ends):
                self.outcomes[test] = Outcome(*ends[0])
                self.seen = self.job.places()
        running = next((test for test in self._left() if any(test in report for report in reports)), None)
        if running != self.running:
            self.running, self.begun = running, time.monotonic()
        limit = self.timeouts.get(running, START)
        if self._left() and (ended or time.monotonic() > self.begun + limit):
            self._fail(running or self._left()[0], "" if ended else f"still running after {limit} s: ")

    def _reports(self) -> list[dict[str, list]]:
        """Return what each rank has reported; the files are read only when they have grown."""
        paths = [Path(self.folder.name, str(rank)) for rank in range(self.ranks)]
        sizes = [path.stat().st_size if path.exists() else 0 for path in paths]
        if sizes != self.sizes:
            self.sizes, self.reports = sizes, list(map(read, paths))
        return self.reports

    def _fail(self, test: str, why: str) -> None:
        self.job.end()
        self.outcomes[test] = Outcome("failed", why + jobs.show(self.job.result(self.seen)))
        self.end()

    def _finish(self, test: str) -> None:
        """Let the job end by itself after its last test, which fails if the job does."""
        in_time = self.job.wait(self.timeouts[test])
        if not in_time or not self._ended_well():
            self._fail(test, "" if in_time else f"still running after {self.timeouts[test]} s: ")
        self.end()

    def _ended_well(self) -> bool:
        """Return whether the job has ended as it should.

        MPICH's mpirun sometimes returns 1, without a word, after all ranks have reached the end of MPI.
        """
        done = self.job.result(self.seen)
        is_silent = done.returncode == 1 and not done.stderr
        return not done.returncode or (is_silent and all(END in report for report in self._reports()))


def read(path: Path) -> dict[str, list]:
    """Return what a rank has reported: for each test that it began the end, as in Outcome, or nothing yet."""
    found = {}
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        if line.endswith("\n"):
            test, *outcome = json.loads(line)
            found[test] = outcome
    return found


class Reporter:
    """A plugin of pytest on a rank of a batch: writes what begins and how it ends."""

    def __init__(self, comm, folder: str):
        self.comm, self.path, self.outcome = comm, Path(folder, str(comm.rank)), []

    def write(self, *line) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")

    def pytest_runtest_logstart(self, nodeid):
        """Begin a test when all ranks have reported on the one before."""
        self.comm.Barrier()
        self.outcome = ["passed"]
        self.write(nodeid)

    def pytest_runtest_logreport(self, report):
        """Remember that a phase of the test did not pass."""
        if not report.passed:
            reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longreprtext
            self.outcome = [report.outcome, reason]

    def pytest_runtest_logfinish(self, nodeid):
        """Report the end; a failure has ended the whole job before."""
        self.write(nodeid, *self.outcome)

    def pytest_sessionfinish(self, exitstatus):
        """Report the end of all tests."""
        if not exitstatus:
            self.write(END)
