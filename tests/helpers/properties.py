"""Property tests with the same examples in every run, so that a failure is that of a change."""

from hypothesis import settings


def examples(count):
    """Return a decorator for a test of so many examples, without a time limit."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)
