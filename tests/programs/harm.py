"""What programs that damage files have in common: their options, and a table of what the damaged files have done."""

import argparse
import time
from collections import Counter, defaultdict


def parser(count):
    """Return a parser of a program's options: how many cases to try, by default `count`, and the seed."""
    made = argparse.ArgumentParser()
    made.add_argument("count", type=int, nargs="?", default=count)
    made.add_argument("--seed", type=int, default=0)
    return made


class Harm:
    """Counts what has happened, in a table with a row for each kind of case.

    what: the heading of the rows.
    fine: words for what may happen.
    bad: words for what does harm; each case of it is printed at once.
    width: of the first column.
    """

    def __init__(self, what, fine, bad, width=12):
        self.what, self.columns, self.bad, self.width = what, (*fine, *bad), bad, width
        self.rows = defaultdict(Counter)
        self.begin = time.time()

    def add(self, kind, word, case):
        """Count a case, and print it if it has done harm; case: a line that describes it. Return whether it has."""
        self.rows[kind][word] += 1
        if word in self.bad:
            print(f"{kind} {case}", flush=True)
        return word in self.bad

    @property
    def seconds(self):
        """The seconds since the first case."""
        return time.time() - self.begin

    def report(self, tried):
        """Print the table; return 1 if there was harm, else 0; tried: how many cases of what, in words."""
        print(f"{self.what:{self.width}s}", *(f"{name:>9s}" for name in self.columns))
        for kind, row in self.rows.items():
            print(f"{kind:{self.width}s}", *(f"{row[name]:9d}" for name in self.columns))
        harm = sum(row[name] for row in self.rows.values() for name in self.bad)
        print(f"{tried}, {harm} did harm, {self.seconds:.0f} s", flush=True)
        return int(harm > 0)
