"""Nothing that others named reaches the terminal as more than text, in whatever encoding the terminal has."""

import csv
import os

import h5py
import numpy as np
import pytest

from distcnn.data import sandbox
from distcnn.data.sandbox_probe import UNREADABLE
from distcnn.run.predictions import Predictions, describe, write
from distcnn.system.terminal_text import encodable, printable
from tests.helpers import jobs

HOSTILE = {
    "clear screen": ("\x1b[2J", r"\x1b[2J"),
    "title": ("\x1b]0;root\x07", r"\x1b]0;root\x07"),
    "clipboard": ("\x1b]52;c;cm0gLXJm\x07", r"\x1b]52;c;cm0gLXJm\x07"),
    "C1": ("\x9b2J", r"\x9b2J"),
    "forged line": ("cat\ndistcnn: error: none\r", r"cat\ndistcnn: error: none\r"),
    "direction of text": ("\u202egnp\u2066", r"\u202egnp\u2066"),
    "line separators": ("a\u2028b\u2029\x85", r"a\u2028b\u2029\x85"),
    "not UTF-8": ("\udcff", r"\udcff"),
    "invisible": ("\u200b\ufeff\U000e0041", r"\u200b\ufeff\U000e0041"),
}
SCRIPTS = "Gänse 二 кот हिन्दी می\u200cخواهم ไทย 𓀀 👩\u200d🔬 $x^2$ \\x1b"  # noqa: RUF001


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_terminal_would_obey_is_escaped(name):
    text, wanted = HOSTILE[name]
    assert printable(text) == wanted


def test_text_of_any_script_stays():
    assert printable(SCRIPTS) == SCRIPTS
    assert printable("a\nb\x1b", lines=True) == "a\nb\\x1b"


def test_no_control_character_of_any_plane_is_left():
    text = printable("".join(map(chr, range(0x110000))))
    controls = [
        *map(chr, range(32)),
        *map(chr, range(0x7F, 0xA0)),
        "\u2028",
        "\u2029",
        *"\u202a\u202e\u2066\u2069",
    ]
    assert not set(controls) & set(text)


def test_an_encoding_that_lacks_a_character_shows_its_number(tmp_path):
    with open(tmp_path / "x", "w", encoding="ascii") as stream:
        assert encodable("Gänse 二", stream) == r"G\xe4nse \u4e8c"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a dataset whose classes have hostile names, 二.h5, and a run on it, `run`."""
    folder = tmp_path_factory.mktemp("trained")
    rng, classes = np.random.default_rng(0), [HOSTILE["title"][0], "Gänse", "=HYPERLINK(1)"]
    with h5py.File(folder / "二.h5", "w") as file:
        for split in ("train", "test"):
            file[f"{split}/images"] = rng.integers(0, 256, (32, 1, 28, 28), np.uint8)
            file[f"{split}/labels"] = np.arange(32) % 3
        file.attrs["classes"] = classes
    words = "--data", folder / "二.h5", "--max-steps", 1, "--out", "run"
    done = jobs.run("python", "-m", "distcnn.train", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("command", ["info", "train", "predict", "evaluate", "missing"])
def test_commands_print_only_text(tmp_path, run, trained, command, encoding):
    dataset = trained / "二.h5"
    words = {
        "info": ["data", "info", dataset],
        "train": ["train", "--data", dataset, "--max-steps", 1, "--out", tmp_path / "二"],
        "predict": ["predict", "run", "--data", dataset],
        "evaluate": ["evaluate", "run", "--data", dataset],
        "missing": ["data", "info", "\x1b[2J\n二"],
    }[command]
    words[0] = f"distcnn.{words[0]}"
    done = run("python", "-m", *words, cwd=trained, env={"PYTHONIOENCODING": encoding})
    assert done.returncode == (2 if command == "missing" else 0), done.stderr
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert printable(said, lines=True) == said
    assert ("\\x1b" in said) == (command in ("info", "predict", "evaluate", "missing"))
    assert ("\\u4e8c" if encoding == "ascii" else "二") in said


def test_a_sandbox_gives_its_reason_in_any_encoding(tmp_path, monkeypatch):
    path = tmp_path / "二.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code, reason = sandbox.run_probe(path)
    assert (code, "\\u4e8c" in reason or "nable to" in reason) == (UNREADABLE, True)
    code, reason = sandbox.run_probe(tmp_path / "三.h5")  # whose name is in the reason
    assert (code, "\\u4e09" in reason) == (UNREADABLE, True)


def predictions(*classes):
    """Return predictions of these classes, one an image."""
    n = len(classes)
    return Predictions(np.arange(n, dtype=np.int32), np.eye(n, dtype=np.float32), None, classes, {})


def test_a_spreadsheet_takes_no_class_for_a_formula(tmp_path):
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "cat", "a=b", "'cat"]
    write(tmp_path / "x.csv", predictions(*names))
    with open(tmp_path / "x.csv", newline="") as file:
        header, *rows = csv.reader(file)
    wanted = ["'=1+1", "'+1", "'-1", "'@SUM(A1)", r"'\t=1", r"'\r=1", "cat", "a=b", "'cat"]
    assert header[-len(names) :] == wanted
    assert [row[2] for row in rows] == wanted


def test_columns_are_as_wide_as_what_is_shown():
    lines = list(describe(predictions("\x1b[2J", *map(str, range(30)))))
    assert lines[1].startswith(r"\x1b[2J  ")
    assert len({len(line) for line in lines}) == 1


def test_a_terminal_line_of_progress_is_text(run, tmp_path):
    program = "from distcnn.run.progress_bar import Lines; Lines(1).say('\\x1b[2J\\u4e8c'); Lines(1).warn('\\x9b\\nx')"
    done = run("python", "-c", program, cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert (done.stdout, done.stderr) == ("\\x1b[2J\\u4e8c\n", "distcnn: warning: \\x9b\\nx\n")
    assert os.listdir(tmp_path) == []
