"""Trained nets in the files of other frameworks."""
