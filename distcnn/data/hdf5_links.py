"""Follow links in HDF5 files by hand: HDF5 itself would open any file that a link names.

Data may lie in another file only within the folder of the file that refers to it, or below. So a file from a stranger
cannot make a training read, and its results tell, what lies elsewhere.
"""

from __future__ import annotations

import os
from collections import deque

import h5py

from distcnn.errors import DataError

LINKS = 16  # links that one path may lead through


def followed(file: h5py.File, name: str) -> tuple[str | None, str]:
    """Return (None, path) for an object of this file, all links followed, or (path of another file, path there).

    name: an absolute path, such as "/train/images".

    Raises DataError if there is no such object, or if it lies in a file that may not be read.
    """
    group: h5py.HLObject = file
    path, links = "", 0
    steps = deque(name.strip("/").split("/"))
    while steps:
        step = steps.popleft()
        link = _link(group, step, name, links)
        if isinstance(link, h5py.HardLink):
            group, path = group.get(step), f"{path}/{step}"
            continue
        links += 1
        if links > LINKS:
            raise DataError(f"{name} is a link that leads in circles: store the data in its place")
        if isinstance(link, h5py.ExternalLink):
            rest = "/".join([link.path.strip("/"), *steps])
            return other_file(file, link.filename, name), f"/{rest}"
        target = str(getattr(link, "path", ""))
        steps.extendleft(reversed([each for each in target.split("/") if each not in ("", ".")]))
        if target.startswith("/"):
            group, path = file, ""
    return None, path or "/"


def _link(group: h5py.HLObject, step: str, name: str, links: int) -> object:
    """Return the link to a member of a group; raise DataError unless there is one.

    group: the object that should be the group.
    step: the name of the member.
    name: the whole path, for messages.
    links: how many links have led here.
    """
    if not isinstance(group, h5py.Group):
        raise DataError(f"{group.name} is not a group; wanted a group that holds images and labels")
    link = group.get(step, getlink=True)
    if link is None and links:
        raise DataError(f"{name} is a link to another file or to nothing: store the data in its place")
    if link is None:
        members = ", ".join(map(str, list(group)[:8])) or "nothing"  # str: of bytes where it is not UTF-8
        raise DataError(f"{name} is missing: {group.name} holds {members}")
    return link


def other_file(file: h5py.File, target: str, name: str) -> str:
    """Return the path of another file to which a file refers; raise DataError unless it may be read.

    target: its name as it is stored, relative to the folder of `file` or absolute.
    name: of the array that lies there, for messages.
    """
    folder = os.path.dirname(os.path.abspath(file.filename))
    path = os.path.normpath(os.path.join(folder, target))
    if not _is_within(path, folder):
        found = f"{name} lies in {path}, outside the folder of the file that refers to it"
        raise DataError(
            f"{found}: name that file itself, as in --images FILE:/path, or copy it into the folder"
        )
    if not os.path.isfile(path):
        raise DataError(f"{name} lies in {path}, which does not exist: put that file there")
    return path


def _is_within(path: str, folder: str) -> bool:
    """Return whether a path, links followed, lies in a folder or below."""
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))
