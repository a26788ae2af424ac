"""What tests ask of files."""

import os


def written(path):
    """Return what changes whenever a file is written or replaced, unlike os.stat: that has the time of reading, too."""
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
