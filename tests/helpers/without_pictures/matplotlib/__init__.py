"""In Matplotlib's place for commands that tests start: importing it and drawing curves takes a third of a short run.

`figure` and `ticker` take every call that pictures make, and each is an empty file. Tests of pictures, and those
that draw in their own process, have Matplotlib itself.
"""


class Nothing:
    """What is any function, object and pair of objects."""

    lines = ()

    def __getattr__(self, name):
        return self

    def __call__(self, *arguments, **keywords):
        return self

    def __getitem__(self, key):
        return self

    def __iter__(self):
        return iter((self, self))
