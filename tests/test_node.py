"""How many cores a rank may use: those of its node, divided among the node's ranks, within a container's quota."""

import os

import pytest

from distcnn.parallel import node
from distcnn.parallel.serial import SerialComm


@pytest.mark.mpi(ranks=(1, 2))
def test_ranks_divide_the_cores(comm, monkeypatch):
    monkeypatch.setattr(node, "QUOTA", node.Path("/nowhere"))
    for masks, shares in (([range(8)] * 2, (4, 4)), ([range(6), range(6, 8)], (6, 2)), ([[0]] * 2, (1, 1))):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, masks=masks: set(masks[comm.rank]))
        wanted = shares[comm.rank] if comm.size == 2 else len(masks[0])
        assert node.share_of_cores(comm) == wanted


def test_a_container_has_a_quota(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(node, "QUOTA", tmp_path / "cpu.max")
    for text, wanted in (("250000 100000\n", 2), ("50000 100000", 1), ("max 100000\n", 64)):
        (tmp_path / "cpu.max").write_text(text)
        assert node.share_of_cores(SerialComm()) == wanted
