"""Every name of the module, as Nothing."""

from matplotlib import Nothing


def __getattr__(name):
    return Nothing()
