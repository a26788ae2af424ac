"""Every parallel test on one rank and on several: one marked `mpi` runs on 1 rank, and under mpirun on 2 and 3.

    @pytest.mark.mpi                            # or mpi(ranks=(1, 4), timeout=20)
    def test_sum(comm): ...

`python -m pytest` starts mpirun itself, once for each number of ranks, after all other tests: see helpers/batches.py.
Each test has a time limit, so that a failure, a hang or a death of one rank is reported and not waited for.
`mpirun -n 3 python -m pytest --with-mpi` runs the marked tests on the ranks given, and leaves out the others. The
marks are pytest-mpi's.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from functools import partial

import pytest

from distcnn.parallel.serial import SerialComm
from distcnn.run import curves
from tests.helpers import batches, commands, jobs

RANKS = (1, 2, 3)
TIMEOUT = 300  # seconds, also on a busy machine


@pytest.fixture(autouse=True)
def same_limits():
    """Fail a test that leaves a limit of memory or of processor time, which would kill this process in a later one."""
    before = _limits()
    yield
    assert _limits() == before


def _limits():
    with suppress(ImportError):  # on Windows
        import resource

        return [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU)]


@pytest.fixture
def comm(request):
    """Return the communicator that a test marked `mpi` runs on: all ranks, and no messages of another test."""
    world = _world()
    return world.Dup() if world.size > 1 else world


@pytest.fixture
def shared_path(comm, tmp_path):
    """Return an empty folder, the same on all ranks."""
    return comm.bcast(tmp_path)


@pytest.fixture
def call(comm, shared_path, monkeypatch):
    """Call a command on the ranks of this test, in a folder of all: `call("distcnn.train", "--max-steps", 2)`."""
    monkeypatch.chdir(shared_path)
    monkeypatch.setattr(curves, "DRAW", "")  # nothing, which takes a hundredth of the time
    return partial(commands.call, comm)


@pytest.fixture
def faulty(call, monkeypatch):
    """Train on the ranks of this test with faults planted: `faulty("interrupt@step:2:5", "--max-steps", 9)`."""
    from tests.programs import faults

    for owner, name, *_ in (*faults.PLACES.values(), (faults.Trainer, "__init__")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # planted there now, it is gone after the test
    return partial(call, faults.__name__, main="planted")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Call a command in this process, in an empty folder: `here("distcnn.train", "--max-steps", 2)`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curves, "DRAW", "")
    return partial(commands.call, SerialComm())


@pytest.fixture
def run():
    """Run a command as a user types it: `run("python", "-m", "distcnn.train")`."""
    return jobs.run


@pytest.fixture
def mpirun():
    """Run a command on several ranks: `mpirun(3, "python", "-m", "distcnn.train")`."""
    return jobs.mpirun if jobs.launcher() else pytest.skip("no mpirun")


def pytest_addoption(parser):
    """Have --with-mpi without pytest-mpi, too."""
    with suppress(ValueError):  # pytest-mpi has it
        parser.addoption("--with-mpi", action="store_true", help="run on the ranks of this job, under mpirun")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """Take pytest-mpi's place, which would skip what is started here; let only rank 0 print."""
    _heed_interrupts()
    config.addinivalue_line("markers", "mpirun: a test that starts a job of several ranks")
    config.addinivalue_line("markers", "once: a test of ranks that `make test` runs under one MPI only")
    config.addinivalue_line("markers", "mpi(ranks=(1, 2, 3), timeout=300): a test for any number of ranks")
    plugins = config.pluginmanager
    if not config.option.with_mpi:
        if jobs.launched():
            raise pytest.UsageError("under mpirun, ranks run the tests together: add --with-mpi")
        for plugin in [each for each in plugins.get_plugins() if type(each).__name__ == "MPIPlugin"]:
            plugins.unregister(plugin)
        return
    if _world().rank > 0:
        plugins.unregister(name="terminalreporter")
    if batches.FOLDER in os.environ:
        plugins.register(batches.Reporter(_world(), os.environ[batches.FOLDER]))


def pytest_generate_tests(metafunc):
    """Give a test marked `mpi` one run for each number of ranks."""
    mark = metafunc.definition.get_closest_marker("mpi")
    if mark:
        ranks = mark.kwargs.get("ranks", RANKS)
        if metafunc.config.option.with_mpi:
            size = _world().size
            ranks = [size] if "ranks" not in mark.kwargs or size in ranks else []
        metafunc.parametrize("comm", ranks, ids=[f"{n}-rank{'s' * (n > 1)}" for n in ranks], indirect=True)


def pytest_itemcollected(item):
    """Mark tests that start mpirun, all of which depend on the MPI and are slow: -m "mpi or mpirun", -m "not slow"."""
    if "mpirun" in getattr(item, "fixturenames", ()):
        item.add_marker("mpirun")
    if item.get_closest_marker("mpirun"):
        item.add_marker("slow")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Put tests on several ranks last, by number of ranks; on the ranks leave out what is not for them."""
    if config.option.with_mpi:
        config.hook.pytest_deselected(items=[item for item in items if not item.get_closest_marker("mpi")])
        items[:] = [item for item in items if item.get_closest_marker("mpi")]
    else:
        items[:] = [OnRanks.of(item) if _ranks(item) > 1 else item for item in sorted(items, key=_ranks)]


class OnRanks(pytest.Item):
    """One test on several ranks, which run it in the job of its batch."""

    batches = pytest.StashKey[dict[int, batches.Batch]]()

    @classmethod
    def of(cls, test):
        """Return what stands for a test in this process."""
        item = cls.from_parent(test.parent, name=test.name)
        item.test, item.ranks, item.own_markers = test, _ranks(test), test.own_markers
        item.keywords.update(test.keywords)
        return item

    def runtest(self):
        """Let the ranks run the test, and end as it does there."""
        if not jobs.launcher():
            pytest.skip("no mpirun")
        kind, text = self._batch().outcome(self.nodeid)
        if kind == "skipped":
            pytest.skip(text)
        if kind == "failed":
            pytest.fail(text, pytrace=False)

    def _batch(self):
        known = self.config.stash.setdefault(self.batches, {})
        if self.ranks not in known:
            items = [each for each in self.session.items if getattr(each, "ranks", None) == self.ranks]
            timeouts = {each.nodeid: each.timeout for each in items}
            known[self.ranks] = batches.Batch(self.ranks, self.config.rootpath, timeouts)
            self.config.add_cleanup(known[self.ranks].end)
        return known[self.ranks]

    @property
    def timeout(self):
        """The seconds that the test may take."""
        return self.get_closest_marker("mpi").kwargs.get("timeout", TIMEOUT)

    def repr_failure(self, excinfo):
        return str(excinfo.value)

    def reportinfo(self):
        return self.test.reportinfo()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """End the whole job when a test fails on one rank: the others may be waiting for it."""
    report = yield
    if item.config.option.with_mpi and report.failed:
        _abort(item.config, f"{report.longreprtext}\n{report.capstdout}\n{report.capstderr}")
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    """End the whole job when the tests cannot be collected on one rank."""
    result = yield
    if session.config.option.with_mpi and exitstatus:
        _abort(session.config, "")
    return result


def _heed_interrupts():
    """Let what tests start heed Ctrl-C, also if this process ignores it, as in the background of a script."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _abort(config, message):
    comm = _world()
    if comm.size > 1:
        config.pluginmanager.get_plugin("capturemanager").suspend_global_capture(in_=True)
        print(f"\nrank {comm.rank} of {comm.size} failed\n{message}", file=sys.stderr, flush=True)
        time.sleep(0.2)  # Open MPI may lose what was written just before
        comm.Abort(1)


def _ranks(item):
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("comm", 1) if callspec and item.get_closest_marker("mpi") else 1


def _world():
    from distcnn.parallel.world import world

    return world()
