"""The tasks that a net can be trained for. Each is declared here once; whatever differs between them asks its Task.

Two tables lie in other folders, since they need what lies there, and have one entry for each task: the kernels of the
losses in `network.losses`, and the metrics of evaluation in `training.metrics`, where `Collector` is what a report on a
task implements.

An output of the net stands for a class, for a label that an image may have or not, or for a measure. What the labels of
a sample are follows:

    classify     the number of its class, int32: the labels of a split are [n]
    multilabel   for each label 1 or 0, uint8 [n, outputs]
    regress      a number for each measure, float32 [n, outputs]

The loss of a sample is the mean over a row's outputs, as PyTorch's losses take it over all outputs of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from distcnn.config.types import AUTO, CLASSIFY, MULTILABEL, REGRESS


@dataclass(frozen=True)
class Task:
    """What a net learns, and what its outputs mean.

    name: the word for --task.
    loss: the name of the loss.
    output: what an output of the net stands for, in messages.
    dtype: of the labels in memory.
    has_rows: whether the labels of a split are [n, outputs]; otherwise [n].
    smooths: whether label smoothing has a meaning.
    has_accuracy: whether the answer on a sample is right or wrong: for a row, it is right if all of it is.
    probabilities: the name of the function that makes probabilities of outputs; "" if predictions are the outputs.
    not_last: why the loss does not fit a net that ends in a layer, and what to do, by the name of the layer.
    doubtful_last: the names of layers in which a net may end, although it hardly learns then.
    standardizes: whether the net learns targets minus their mean over their standard deviation, over the training
        split; predictions are then converted back to the unit of the targets.
    """

    name: str
    loss: str
    output: str
    dtype: str
    has_rows: bool
    smooths: bool = False
    has_accuracy: bool = True
    probabilities: str = ""
    standardizes: bool = False
    not_last: Mapping[str, str] = field(default_factory=dict)
    doubtful_last: tuple[str, ...] = ("Dropout",)

    def label_shape(self, outputs: int) -> tuple[int, ...]:
        """Return the shape of the labels of one sample; outputs: of the net."""
        return (outputs,) if self.has_rows else ()


_LOGITS = "takes logits and computes the {0} itself: leave out the final {1}()"
_LIMITED = "takes outputs of any size, as targets are standardized: leave out the final {0}()"
_RADIAL = (
    "of this task does not fit RadialBasis, whose outputs are never above 0: use a net that ends in Dense"
)

TASKS = {
    task.name: task
    for task in (
        Task(
            CLASSIFY,
            loss="softmax cross-entropy",
            output="class",
            dtype="int32",
            has_rows=False,
            smooths=True,
            probabilities="softmax",
            not_last={"Softmax": _LOGITS.format("softmax", "Softmax")},
            doubtful_last=("Dropout", "ReLU", "Sigmoid", "Tanh"),
        ),
        Task(
            MULTILABEL,
            loss="sigmoid cross-entropy",
            output="label",
            dtype="uint8",
            has_rows=True,
            smooths=True,
            probabilities="sigmoid",
            not_last={
                "Sigmoid": _LOGITS.format("sigmoid", "Sigmoid"),
                "Softmax": _LOGITS.format("sigmoid", "Softmax"),
                "ReLU": "takes logits, below 0 for a label that an image does not have: leave out the final ReLU()",
                "RadialBasis": _RADIAL,
            },
            doubtful_last=("Dropout", "Tanh"),
        ),
        Task(
            REGRESS,
            loss="squared error",
            output="target",
            dtype="float32",
            has_rows=True,
            has_accuracy=False,
            standardizes=True,
            not_last={
                **{each: _LIMITED.format(each) for each in ("Sigmoid", "Softmax", "ReLU", "Tanh")},
                "RadialBasis": _RADIAL,
            },
        ),
    )
}


def task_of(name: str) -> Task:
    """Return the task of a setting; AUTO, as long as no labels were looked at, stands for classify."""
    return TASKS[CLASSIFY if name == AUTO else name]
