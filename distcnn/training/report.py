"""The report on a split: all ranks share the evaluation, and rank 0 has the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distcnn.data.splits import Split
from distcnn.parallel.comm import Comm
from distcnn.parallel.heartbeat import Heartbeat
from distcnn.reports.kinds import KINDS
from distcnn.reports.report import Report
from distcnn.reports.subject import Subject
from distcnn.training.evaluation import evaluate
from distcnn.training.workers import WorkerPool


def report_on(
    pool: WorkerPool,
    split: Split,
    names: Sequence[str],
    about: dict[str, Any],
    comm: Comm,
    when: str = "",
    heartbeat: Heartbeat | None = None,
) -> Report | None:
    """Return the report on a split, on rank 0; None on the others. Collective.

    names: of the classes, labels or targets.
    about: what the report begins with: checkpoint, epoch, step, data, split.
    pool, comm, when, heartbeat: as `evaluate` takes them.
    """
    task, subject = pool.net.task.name, Subject(names, len(split.labels), pool.net.targets.array)
    collector = KINDS[task].collect(subject)
    measured = evaluate(pool, split, comm, when, heartbeat, collector)
    if comm.rank > 0:
        return None
    found = {"task": task, "samples": len(split.labels), **measured, "weights_sha256": pool.net.digest}
    return Report(about | found | collector.record, measured, split)
