"""Stream mode: train on files that are larger than memory, of which each rank holds two windows at a time."""
