"""On a terminal every line stays, whole and in order, and nothing of the bar, also in tmux and in GNU screen."""

import os
import shutil
import subprocess
import termios
import time
import uuid

import pytest

from distcnn.system.terminal_text import ERASE_BELOW
from tests.helpers import jobs
from tests.helpers.screen import Screen
from tests.helpers.terminals import Terminal
from tests.programs import chatter

EPOCHS = 40
PROGRAM = "python", jobs.ROOT / "tests/programs/chatter.py"
SHELL = "bash", "-c"


def command(ranks, epochs=EPOCHS):
    """Return a command that shows a training on so many ranks."""
    return [jobs.launcher(), "-n", ranks, *PROGRAM, epochs]


def typed(ranks, epochs=EPOCHS):
    """Return the same as a line of a shell."""
    words = [jobs.sys.executable if word == "python" else str(word) for word in command(ranks, epochs)]
    return " ".join(words)


def spoken(rank, epochs=EPOCHS):
    """Return the lines of a rank."""
    return [line for line, _ in chatter.expected(rank, epochs)]


def require_lines(shown, ranks, epochs=EPOCHS):
    """Require that the lines of each rank are shown, whole and in order, and nothing else."""
    for rank in range(ranks):
        wanted = spoken(rank, epochs)
        assert [line for line in shown if line in wanted] == wanted, "\n".join(shown)
    assert len(shown) == sum(len(spoken(rank, epochs)) for rank in range(ranks)), "\n".join(shown)
    assert shown[-1] == chatter.DIGEST or ranks > 1


WINDOWS = {"usual": (24, 80), "narrow": (6, 25), "one line": (1, 60)}


@pytest.mark.parametrize("ranks", [1, 8])
@pytest.mark.parametrize("size", WINDOWS.values(), ids=WINDOWS)
def test_every_line_stays_in_any_window(mpirun, ranks, size):
    with Terminal(*size) as terminal:
        assert terminal.run(*command(ranks)) == 0, terminal.written
    require_lines(terminal.screen.text(), ranks)
    assert ("samples/s, " in terminal.written) == (size[0] > 1)  # there was a bar


@pytest.mark.parametrize(
    ("reflows", "sizes"),
    [(True, [(24, 30), (5, 100), (12, 20)]), (False, [(30, 120), (8, 100), (20, 90)])],
    ids=["reflows", "cuts"],
)
def test_every_line_stays_when_the_window_is_resized(mpirun, tmp_path, reflows, sizes):
    pauses = 10, 20, 30

    def resized(pause, size):
        terminal.resize(*size)
        (tmp_path / str(pause)).touch()

    with Terminal(24, 80, reflows) as terminal:
        events = []
        for pause, size in zip(pauses, sizes, strict=True):
            # when the bar below the line of that epoch is drawn:
            events += [(text, None) for text in (f"{ERASE_BELOW}epoch {pause}/", "\x1b[?7l")]
            events += [("\x1b[A", lambda pause=pause, size=size: resized(pause, size))]
        assert terminal.run(*command(3), *pauses, cwd=tmp_path, events=events) == 0, terminal.written
    require_lines(terminal.screen.text(), 3)


REDIRECTIONS = {  # (what is added to the command, where stdout goes, where stderr goes); None: the terminal
    "tee": ("| tee out", "both", None),
    "tee of both": ("2>&1 | tee out", "both", "both"),
    "stdout": ("> out", "file", None),
    "stderr": ("2> err", None, "file"),
    "both": ("> out 2> err", "file", "file"),
    "in the background": ("& wait", None, None),
}


@pytest.mark.parametrize(("added", "stdout", "stderr"), REDIRECTIONS.values(), ids=REDIRECTIONS)
def test_what_goes_elsewhere_is_plain_and_what_is_shown_is_whole(mpirun, tmp_path, added, stdout, stderr):
    with Terminal() as terminal:
        script = f"set -m -o pipefail; {typed(1)} {added}"
        assert terminal.run(*SHELL, script, cwd=tmp_path) == 0, terminal.written
    lines = list(chatter.expected(0, EPOCHS))
    said = {kind: [line for line, warns in lines if warns == kind] for kind in (False, True)}
    shown = [line for line in terminal.screen.text() if not line.startswith("[1]")]  # the shell's, of its job
    places = {False: stdout, True: stderr}
    assert sorted(shown) == sorted(line for line, warns in lines if places[warns] != "file")
    for warns, file in ((False, "out"), (True, "err")):
        if places[warns] == "file":
            assert (tmp_path / file).read_text().splitlines() == said[warns]
    if stdout == "both":
        written = (tmp_path / "out").read_text().splitlines()
        assert [line for line in written if "warning" not in line] == said[False]
        assert "\x1b" not in "".join(written)


def test_output_that_mpirun_writes_elsewhere_goes_there(mpirun, tmp_path):
    option = "--output file=out" if jobs.tolerant() else "-outfile-pattern out"
    with Terminal() as terminal:
        line = typed(1).replace(" -n ", f" {option} -n ", 1)
        assert terminal.run(*SHELL, line, cwd=tmp_path) == 0, terminal.written
    found = [path.read_text() for path in tmp_path.rglob("*out*") if path.is_file()]
    assert any(chatter.DIGEST in text and "\x1b" not in text for text in found), found


def test_the_output_of_a_rank_s_own_pipe_goes_there(mpirun, tmp_path):
    with Terminal() as terminal:
        inner = typed(1).split(" -n 1 ")[1]
        words = jobs.launcher(), "-n", 1, *SHELL, f"{inner} | cat > out"
        assert terminal.run(*words, cwd=tmp_path) == 0, terminal.written
    lines = [line for line in spoken(0) if "warning" not in line]
    assert (tmp_path / "out").read_text().splitlines() == lines


def test_a_training_under_the_launcher(mpirun, tmp_path):
    options = ["--epochs", 3, "--out", "a"]
    with Terminal(reflows=True) as terminal:
        line = ["python", "-m", "distcnn.launch", "-n", 2, "--", *options]
        assert terminal.run(*line, cwd=tmp_path) == 0, terminal.written
    shown = terminal.screen.text()
    assert [line.split("  ")[0] for line in shown if not line.startswith("weights")][-3:] == [
        f"epoch {k}/3" for k in (1, 2, 3)
    ]
    assert "2 ranks, in a" in shown[0]
    assert shown[-1].startswith("weights_sha256 ")
    assert len(shown) == 5, shown


def finished(*words):
    return subprocess.run(
        [*map(str, words)], check=True, capture_output=True, text=True, timeout=jobs.LIMIT
    ).stdout


def test_inside_tmux(mpirun, tmp_path):
    tmux = shutil.which("tmux") or pytest.skip("tmux is not installed")
    server = [tmux, "-L", f"distcnn-{uuid.uuid4().hex}", "-f", "/dev/null"]
    environment = jobs.clean_environment({})
    script = tmp_path / "script"
    script.write_text(f"{typed(3)} 20\n{' '.join(server)} wait-for -S ended\nread -r _\n")
    session = ["new-session", "-d", "-x", "50", "-y", "10", "bash", str(script)]
    subprocess.run([*server, *session], env=environment, cwd=tmp_path, check=True, timeout=jobs.LIMIT)
    capture = [*server, "capture-pane", "-p", "-J", "-S", "-"]
    try:
        jobs.wait_until(lambda: "epoch 20/" in finished(*capture))
        finished(*server, "resize-window", "-x", 40, "-y", 8)
        (tmp_path / "20").touch()
        finished(*server, "wait-for", "ended")
        count = sum(len(spoken(rank)) for rank in range(3))
        jobs.wait_until(
            lambda: len(finished(*capture).rstrip().splitlines()) >= count
        )  # it may show more later
        shown = finished(*capture).rstrip().splitlines()
    finally:
        finished(*server, "kill-server")
    require_lines([line.rstrip() for line in shown], 3)


def test_inside_screen(mpirun, tmp_path):
    screen = shutil.which("screen") or pytest.skip("GNU screen is not installed")
    shown, folder = tmp_path / "shown", tmp_path / "sockets"
    folder.mkdir(mode=0o700)
    (tmp_path / "rc").write_text("defscrollback 1000\n")
    count = sum(len(spoken(rank)) for rank in range(3))
    copied = (
        f"{screen} -X hardcopy -h {shown}; [ -e {shown} ] && [ $(grep -c . {shown}) -ge {count} ] && break"
    )
    # screen obeys later, perhaps after the end of the script, or before it has shown everything:
    (tmp_path / "script").write_text(f"{typed(3)}\nfor k in {{1..999}}; do {copied}; sleep 0.05; done\n")
    words = screen, "-D", "-m", "-c", tmp_path / "rc", "bash", tmp_path / "script"
    done = jobs.run(*words, env={"SCREENDIR": folder, "TERM": "xterm"})
    assert done.returncode == 0, jobs.show(done)
    lines = [line.rstrip() for line in shown.read_text(errors="replace").splitlines()]
    require_lines([line for line in lines if line], 3)


def test_a_line_of_another_program_stays_whole():
    program = """
import os
from distcnn.run.progress_bar import progress
show = progress("auto", 2, 10)
for epoch in (1, 2):
    show.step(epoch, 0.5, 0.5, 5)
    os.write(2, b"somebody")
    show.say("a line")
    os.write(2, b"somebody\\n")
    show.say("a line")
show.close()
"""
    with Terminal() as terminal:
        assert terminal.run("python", "-c", program) == 0
    assert terminal.screen.text() == ["somebodya line", "somebody", "a line"] * 2


def test_a_stopped_terminal_does_not_stop_training(tmp_path):
    """As after Ctrl-S."""
    program = """
from distcnn.run.progress_bar import progress
show = progress("auto", 1, 100_000)
for _ in range(1000):
    show.step(1, 0.5, 0.5, 100)
    show.bar.refresh()
open("done", "w").close()
"""
    with Terminal() as terminal:
        termios.tcflow(terminal.slave, termios.TCOOFF)
        terminal.run("python", "-c", program, cwd=tmp_path)
        assert (tmp_path / "done").exists()
        termios.tcflow(terminal.slave, termios.TCOON)


SAYS = """
import os, sys
from distcnn.system import terminal
name, count, length, patience = sys.argv[1], *map(int, sys.argv[2:])
terminal.PATIENCE = patience
for k in range(count):
    found = terminal.open_terminal(1)
    rest = terminal.write_whole(found, f"{name} {k} {'x' * length}\\n".encode())
    os.close(found)
    with open(name, "a") as file:
        print(len(rest), file=file)
"""


def test_lines_of_several_processes_stay_whole_on_a_slow_terminal(tmp_path):
    """More than the terminal holds, which is read only when that is written: nothing goes another way."""
    count, length = 30, 2000
    with Terminal(24, 2100) as terminal:
        words = [f"'{jobs.sys.executable}' -c \"$0\" {name} {count} {length} {jobs.LIMIT} &" for name in "ab"]
        assert terminal.run(*SHELL, " ".join([*words, "wait"]), SAYS, cwd=tmp_path) == 0
    for name in "ab":
        assert (tmp_path / name).read_text().split() == ["0"] * count
        wanted = [f"{name} {k} {'x' * length}" for k in range(count)]
        assert [line for line in terminal.screen.text() if line.startswith(name)] == wanted
    assert len(terminal.screen.text()) == 2 * count


def test_a_stopped_terminal_delays_one_line(tmp_path, monkeypatch):
    from distcnn.system import terminal as module

    waits = []
    with Terminal() as terminal:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(module, "_shown_by", lambda number: os.ttyname(terminal.slave))
        monkeypatch.setattr(
            module, "_is_writable", lambda found, end: waits.append(end - time.monotonic()) or False
        )
        termios.tcflow(terminal.slave, termios.TCOOFF)
        for line in (b"one", b"two", b"three"):
            found = module.open_terminal(1)
            assert module.write_whole(found, line) == line
            os.close(found)
        assert [wait > 0 for wait in waits] == [True, False, False]
        termios.tcflow(terminal.slave, termios.TCOON)
        for _ in range(2):
            found = module.open_terminal(1)
            assert module.write_whole(found, b"four") == b""
            os.close(found)
        assert not module._STOPPED


def test_a_closed_terminal_does_not_end_training(tmp_path):
    program = """
import os, signal, time
from pathlib import Path
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.environ["TERM"] = "xterm"
from distcnn.run.progress_bar import progress
show = progress("auto", 1, 1000)
show.step(1, 0.5, 0.5, 1)
show.say("begun")
while not Path("closed").exists():
    time.sleep(0.01)
for _ in range(10):
    show.step(1, 0.5, 0.5, 1)
    show.bar.refresh()
    show.say("a line")
show.close()
Path("done").touch()
"""
    terminal = Terminal()
    words = [jobs.sys.executable, "-c", program]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.slave)
    with subprocess.Popen(words, cwd=tmp_path, env=jobs.clean_environment({}), **streams) as process:
        while "begun" not in terminal.written:
            terminal._read(1)
        terminal.__exit__()
        (tmp_path / "closed").touch()
        assert process.wait(jobs.LIMIT) == 0
    assert (tmp_path / "done").exists()


def test_the_emulated_screen_wraps_scrolls_and_reflows():
    screen = Screen(3, 4, reflows=True)
    screen.feed("abcdefg\r\nhi\r\njk\r\nl")
    assert screen.text() == ["abcdefg", "hi", "jk", "l"]
    assert screen.top == 2
    screen.resize(3, 2)
    assert screen.text() == ["abcdefg", "hi", "jk", "l"]
    screen.feed("\x1b[A\r\x1b[Jx\x1b")
    screen.feed("Dy\x1b[2D\x1b[Az")
    assert screen.text() == ["abcdefg", "hi", "z", " y"]
    home = Screen(2, 4)
    home.feed("a\r\nb\x1b[A\r\x1b[J")  # erased from the first corner on
    assert home.text() == ["a", "b"]
    home.feed(f"a\r\nb\x1b[A\r{ERASE_BELOW}c")
    assert home.text() == ["a", "b", "c"]
    cut = Screen(2, 6)
    cut.feed("abcdef")
    cut.resize(2, 3)
    assert cut.text() == ["abc"]
    with pytest.raises(ValueError, match="unknown"):
        cut.feed("\x1b[2;3H")
