"""Run tests again and again while other processes keep the machine busy, and count failures.

    python -m tests.programs.repeat [--times 30] [--busy 4] [--log FOLDER] [tests/test_launch.py ...]

Each file is run `--times` times by the pytest of this Python, so with its MPI; by default, these are the files whose
tests start, kill or watch jobs. The output of each run that fails is printed, and kept in FOLDER. Seconds are those of
processor time, without killed processes: other load does not change them.
"""

import argparse
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.helpers import jobs

NAMES = "launch", "leftovers", "progress_bar", "recovery", "restarts", "signals", "terminal", "two_hosts"
FILES = [Path(f"tests/test_{name}.py") for name in NAMES]
BUSY = "while True: pass"


@contextmanager
def busy(processes):
    """Keep so many processes computing inside the block."""
    started = [subprocess.Popen([sys.executable, "-S", "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def processor_seconds():
    """Return the processor time of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def passes(file, log):
    """Run the tests of a file once, with the output in a file of the same name; return whether they pass."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    with open(log, "wb") as output:
        streams = {"stdout": output, "stderr": subprocess.STDOUT}
        env = jobs.clean_environment(jobs.PICTURES)
        return not subprocess.run(words, cwd=jobs.ROOT, env=env, **streams).returncode


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, default=FILES)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--busy", type=int, default=4, help="processes that keep the machine busy [4]")
    parser.add_argument(
        "--log", type=Path, default=Path("failures"), help="where their output goes [failures]"
    )
    arguments = parser.parse_args()
    arguments.log.mkdir(parents=True, exist_ok=True)
    failed = dict.fromkeys(arguments.files, 0)
    with busy(arguments.busy):
        for number in range(1, arguments.times + 1):
            for file in arguments.files:
                log, before = arguments.log / f"{file.stem}-{os.getpid()}-{number}", processor_seconds()
                if passes(file, log):
                    log.unlink()
                else:
                    failed[file] += 1
                    print(log.read_text(errors="replace"))
                seconds = processor_seconds() - before
                print(f"{file}: {failed[file]} of {number} runs failed, {seconds:.0f} s", flush=True)
    return int(any(failed.values()))


if __name__ == "__main__":
    sys.exit(main())
