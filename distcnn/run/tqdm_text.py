"""tqdm's bar, of a class of its own, so that nothing changes for other bars of the same process."""

from __future__ import annotations

import threading

from tqdm import tqdm


class TextBar(tqdm):
    """A bar of characters."""

    monitor_interval = 0  # tqdm shall start no thread while MPI is in use


TextBar.set_lock(threading.RLock())  # tqdm's own would start a process, from Python 3.14 on
