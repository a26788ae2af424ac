"""Tables of trials: one line a trial, then sums, over several calls of a program if a file stores the lines."""

import json
from pathlib import Path


class Tally:
    """Prints and adds up numbers by column; path: a file that stores the lines of all calls, or None."""

    def __init__(self, heading, columns, path=None):
        self.columns, self.path, self.rows = ("trials", *columns), path and Path(path), []
        if self.path and self.path.exists():
            self.rows = [tuple(json.loads(line)) for line in self.path.read_text().splitlines()]
        self._print(heading, self.columns)

    def add(self, group, name, *values):
        """Add a trial of a group; values: a number for each column."""
        self.rows.append((group, (1, *values)))
        if self.path:
            with open(self.path, "a") as file:
                file.write(json.dumps(self.rows[-1]) + "\n")
        self._print(name, self.rows[-1][1])

    def sums(self):
        """Print the sums of each group."""
        for group in dict.fromkeys(group for group, _ in self.rows):
            columns = zip(*(values for each, values in self.rows if each == group), strict=True)
            self._print(f"{group}, all", map(sum, columns))

    def _print(self, name, cells):
        cells = [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in map(_whole, cells)]
        print(f"{name:40}", *(f"{cell:>12}" for cell in cells), flush=True)


def _whole(cell):
    return int(cell) if isinstance(cell, bool) else cell
