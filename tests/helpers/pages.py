"""The Markdown pages of the project: their code blocks, links and headings, and small data for their commands.

A mark is an HTML comment in the line above a code block, which no reader sees:

    <!-- not run: REASON -->    a block that the test leaves out
    <!-- run as: COMMAND -->    the test runs this command instead
    <!-- exits with: CODE -->   the block's commands end with this exit code; their errors count as output
    <!-- not output: REASON --> a block of text that no command prints
    <!-- file: PATH -->         the test writes the block into this file of a copy of the repository
    <!-- appended to: PATH -->  the same, behind what the file holds
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import distcnn

ROOT = Path(distcnn.__file__).parents[1]
LOOSE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "datasets/README.md")
MARK = re.compile(r"<!-- (not run|run as|exits with|not output|file|appended to): (.+) -->")
FENCE = "```"
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A code block: where it begins, its language, its text, and its mark: what it is and the words behind it."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""
    words: str = ""

    def __str__(self):
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The commands of a block of shell lines, as words, without comments."""
        text = self.words if self.mark == "run as" else self.text.replace("\\\n", " ")
        return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def pages() -> list[str]:
    """Return the names of all pages, from the root of the repository."""
    return [*LOOSE, *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]


def read(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text("utf-8")


def blocks(page: str) -> list[Block]:
    """Return the code blocks of a page in order."""
    found, begin, lines = [], None, read(page).splitlines()
    for number, line in enumerate(lines):
        if not line.startswith(FENCE):
            continue
        if begin is None:
            begin = number
            continue
        mark = MARK.fullmatch(lines[begin - 1])
        text = "\n".join(lines[begin + 1 : number]) + "\n"
        language = lines[begin].removeprefix(FENCE)
        found.append(Block(page, begin + 1, language, text, *(mark.groups() if mark else ())))
        begin = None
    assert begin is None, f"{page}: a code block without an end"
    return found


def prose(page: str) -> str:
    """Return a page without its code blocks and comments."""
    text = re.sub(rf"^{FENCE}.*?^{FENCE}$", "", read(page), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def links(page: str) -> list[str]:
    """Return the targets of a page's links and pictures."""
    return [target for _, target in LINK.findall(prose(page))]


def headings(page: str) -> list[tuple[int, str]]:
    """Return (level, text) of a page's headings."""
    return [(len(level), text) for level, text in re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)]


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    plain = [re.sub(r"[^\w\- ]", "", text.lower()) for _, text in headings(page)]
    return {text.replace(" ", "-") for text in plain}


def pattern(text: str) -> str:
    """Return the regular expression for output that a page shows, in which "..." stands for any text.

    A line "..." stands for any number of lines.
    """
    lines = []
    for line in text.splitlines():
        whole = r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"[ ]*\n"
        lines.append(whole)
    return "".join(lines)
