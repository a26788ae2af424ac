"""A small terminal emulator: what a person sees, and can scroll back to, after a program has written its bytes."""

import re

SEQUENCE = re.compile(r"\x1b(?:\[(?P<private>\??)(?P<number>\d*)(?P<final>[A-Za-z])|(?P<single>D))")
PARTIAL = re.compile(r"\x1b(\[\??\d*)?$")  # at the end of what has arrived
BLANK = " "


class Screen:
    """The cells of a window and its scrollback.

    rows: of the window
    columns: likewise
    reflows: whether a line that was wrapped at the old width is wrapped anew at another, as in GNOME's terminal and in
        tmux; in xterm it is cut
    """

    def __init__(self, rows=24, columns=80, reflows=False):
        self.rows, self.columns, self.reflows = rows, columns, reflows
        self.lines = [[] for _ in range(rows)]  # cells of the scrollback, then of the window
        self.wrapped = [False] * rows  # whether the next line continues this one
        self.row = self.column = 0  # of the cursor, in the window
        self.wraps, self.waiting = True, ""

    @property
    def top(self):
        """The index of the window's first line."""
        return len(self.lines) - self.rows

    def text(self):
        """Return all lines, those that were wrapped joined, without empty lines at the end."""
        found, begun = [], ""
        for cells, wrapped in zip(self.lines, self.wrapped, strict=True):
            begun += "".join(cells)
            if not wrapped:
                found.append(begun.rstrip())
                begun = ""
        while found and not found[-1]:
            found.pop()
        return found

    def feed(self, text):
        """Write text, in whatever pieces it arrives."""
        text = self.waiting + text
        held = PARTIAL.search(text)
        self.waiting = held[0] if held else ""
        text = text[: len(text) - len(self.waiting)]
        while text:
            found = SEQUENCE.match(text)
            if found:
                self._obey(found)
            elif text[0] == "\x1b":
                raise ValueError(f"unknown sequence {text[:10]!r}")
            else:
                self._put(text[0])
            text = text[found.end() if found else 1 :]

    def resize(self, rows, columns):
        """Give the window another size."""
        if columns != self.columns:
            self._reflow(columns) if self.reflows else self._cut(columns)
        over = max(0, self.row - rows + 1)  # lines at the top that leave the window
        first = self.top + over
        lines, wrapped = self.lines[: first + rows], self.wrapped[: first + rows]
        missing = first + rows - len(lines)
        self.lines, self.wrapped = lines + [[] for _ in range(missing)], wrapped + [False] * missing
        self.rows, self.row = rows, self.row - over

    def _put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._down()
        elif character == "\b":
            self.column = max(0, self.column - 1)
        elif character >= " ":
            self._print(character)
        else:
            raise ValueError(f"unknown control {character!r}")

    def _print(self, character):
        if self.column == self.columns:
            if self.wraps:
                self.wrapped[self.top + self.row] = True
                self.column = 0
                self._down()
            else:
                self.column -= 1
        cells = self.lines[self.top + self.row]
        cells.extend(BLANK * (self.column + 1 - len(cells)))
        cells[self.column] = character
        self.column += 1

    def _down(self):
        if self.row == self.rows - 1:
            self.lines.append([])
            self.wrapped.append(False)
        else:
            self.row += 1

    def _obey(self, sequence):
        number, at = int(sequence["number"] or 0), self.top + self.row
        match (sequence["private"] or "") + (sequence["final"] or sequence["single"]):
            case "A":
                self.row = max(0, self.row - max(1, number))
            case "J" if not number and (self.row, self.column) == (0, 0):  # as GNU screen and tmux do
                self.lines += [[] for _ in range(self.rows)]
                self.wrapped += [False] * self.rows
            case "J" | "K" as final if not number:
                self._erase(at, range(at + 1, len(self.lines)) if final == "J" else ())
            case "C":
                self.column = min(self.columns - 1, self.column + max(1, number))
            case "D" if sequence["single"]:
                self._down()
            case "D":
                self.column = max(0, min(self.column, self.columns - 1) - max(1, number))
            case "?h" | "?l" as final if number == 7:
                self.wraps = final == "?h"
            case "m":
                pass
            case _:
                raise ValueError(f"unknown sequence {sequence[0]!r}")

    def _erase(self, at, below):
        """Erase from the cursor to the end of its line, and all lines below."""
        del self.lines[at][self.column :]
        self.wrapped[at] = False
        for each in below:
            self.lines[each], self.wrapped[each] = [], False

    def _cut(self, columns):
        self.columns, self.column = columns, min(self.column, columns)
        for cells in self.lines[self.top :]:
            del cells[columns:]

    def _reflow(self, columns):
        """Wrap all lines at another width; the cursor stays where it is in its line."""
        lines, wrapped, cursor, begun = [], [], (0, 0), []
        for at, (cells, more) in enumerate(zip(self.lines, self.wrapped, strict=True)):
            if at == self.top + self.row:
                place = len(begun) + self.column
                cursor = len(lines) + place // columns, place % columns
            begun += cells + [BLANK] * (self.columns - len(cells)) * more
            if not more:
                pieces = [begun[k : k + columns] for k in range(0, len(begun), columns)] or [[]]
                lines += pieces
                wrapped += [True] * (len(pieces) - 1) + [False]
                begun = []
        del lines[cursor[0] + self.rows :], wrapped[cursor[0] + self.rows :]  # the cursor stays in the window
        while len(lines) < self.rows:
            lines.append([])
            wrapped.append(False)
        self.columns, self.lines, self.wrapped = columns, lines, wrapped
        self.row, self.column = cursor[0] - self.top, cursor[1]
