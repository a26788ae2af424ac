"""Commands on a terminal of their own: a pseudo-terminal whose bytes an emulated screen shows."""

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
import uuid

from tests.helpers import jobs
from tests.helpers.screen import Screen


class Terminal:
    """A pseudo-terminal and its screen; a context manager.

    rows, columns: of the window
    reflows: see `Screen`
    """

    def __init__(self, rows=24, columns=80, reflows=False):
        self.screen = Screen(rows, columns, reflows)
        self.master, self.slave = pty.openpty()
        self.written = ""  # all that the command has written
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.resize(rows, columns)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for descriptor in (self.master, self.slave):
            if descriptor is not None:
                os.close(descriptor)

    def resize(self, rows, columns):
        """Give the window another size; the programs in it get SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def run(self, *command, env=None, cwd=None, events=()):
        """Run a command, whose stdin, stdout and stderr are the terminal, to its end; return its exit code.

        env: added to the environment
        events: pairs of a text and a function without arguments, or None, which is called when the text has been
            written, each after the one before
        """
        words = [sys.executable if word == "python" else str(word) for word in command]
        name, events = uuid.uuid4().hex, list(events)
        environment = jobs.clean_environment({jobs.MARK: name, "TERM": "xterm"} | (env or {}))
        process = subprocess.Popen(
            [sys.executable, "-c", CONTROL, *words],
            env=environment,
            cwd=cwd,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )
        try:
            end, seen = time.monotonic() + jobs.LIMIT, 0
            while process.poll() is None:
                assert time.monotonic() < end, f"still running: {self.written}"
                self._read(0.05)
                while events and events[0][0] in self.written[seen:]:
                    seen = self.written.index(events[0][0], seen) + len(events[0][0])
                    _, act = events.pop(0)
                    if act:
                        act()
            while self._read(0):
                pass
            assert not events, f"never written: {events[0][0]!r}: {self.written}"
            return process.returncode
        finally:
            process.kill()
            jobs.kill(name)
            process.wait()

    def type(self, keys):
        """Type keys, such as Ctrl-C, b"\\x03"."""
        os.write(self.master, keys)

    def _read(self, seconds):
        """Show what has arrived, or arrives within so many seconds; return whether it was anything."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        text = self._decoder.decode(os.read(self.master, 65536))
        self.written += text
        self.screen.feed(text)
        return True


CONTROL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""  # makes stdin the controlling terminal of its session
