"""tqdm's bar for notebooks, of a class of its own, so that nothing changes for other bars of the same process."""

from __future__ import annotations

from tqdm.notebook import tqdm_notebook


class WidgetBar(tqdm_notebook):
    """A bar in the output of a notebook's cell."""

    monitor_interval = 0  # tqdm shall start no thread while MPI is in use
