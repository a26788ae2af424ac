"""Text for a terminal: the one place that makes names, messages and paths from elsewhere safe to print.

Class names come from datasets, file names from archives, host names from other machines. A terminal obeys control
characters in them: it could clear the screen, forge a line, or fill the clipboard.

Lines go directly to the terminal that shows them, if there is one, each as a whole, as the progress bar does: see
`terminal`.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TextIO

from distcnn.system import terminal

# What is shown as an escape sequence: controls (C0, DEL, C1), line and paragraph separators, marks that change the
# direction of text, other invisible characters, and surrogates, which stand for bytes that are not UTF-8. The joiners
# U+200C and U+200D stay, as several scripts and emojis need them.
CONTROLS = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff"
)
# Erases from the cursor on, where at most the progress bar can be. All but the cursor's own line is erased from its
# second column, as erasing everything from the first corner moves the window's lines into the scrollback in some
# terminals, such as screen and tmux.
ERASE_BELOW = "\x1b[K\x1b[C\x1b[J\x1b[D"
UNPRINTABLE = re.compile(f"[{CONTROLS}]")
UNPRINTABLE_IN_LINES = re.compile(f"(?!\n)[{CONTROLS}]")


def printable(text: object, lines: bool = False) -> str:
    r"""Return a text in which every character can be seen: ESC becomes \x1b, a line break \n.

    lines: the text has several lines, whose breaks stay
    """
    return (UNPRINTABLE_IN_LINES if lines else UNPRINTABLE).sub(_escape, str(text))


def encodable(text: str, stream: TextIO) -> str:
    r"""Return a text with \xe9 or the like in place of each character that a stream's encoding lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def say(text: object, stream: TextIO | None = None, lines: bool = False) -> None:
    """Print a text, whoever wrote it, at once.

    text: one line, unless `lines` says that its line breaks stay
    stream: where to; None: stdout
    """
    stream = sys.stdout if stream is None else stream
    shown = encodable(printable(text, lines), stream) + "\n"
    stream.write(_on_terminal(shown, stream))
    stream.flush()


def warn(text: object) -> None:
    """Print a warning on stderr."""
    say(f"distcnn: warning: {text}", sys.stderr)


def _on_terminal(text: str, stream: TextIO) -> str:
    """Write a text directly to the terminal that shows a stream; return what is left, all of it without a terminal."""
    number = descriptor(stream)
    found = terminal.open_terminal(number) if number else None
    if found is None:
        return text
    stream.flush()  # what was printed before
    encoding = stream.encoding or "utf-8"
    try:
        return terminal.write_whole(found, (ERASE_BELOW + text).encode(encoding)).decode(encoding, "replace")
    finally:
        os.close(found)


def descriptor(stream: TextIO | None) -> int | None:
    """Return the file descriptor of stdout or stderr, or None for another stream."""
    try:
        number = stream.fileno() if stream else None
    except (OSError, AttributeError, ValueError):  # a stream in memory, or a closed one
        return None
    return number if number in (1, 2) else None


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
