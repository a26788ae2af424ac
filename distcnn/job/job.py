"""What a training job is asked to do, by the command line or from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from distcnn.config.settings import Request
from distcnn.job.callback import Callback
from distcnn.job.start import Start
from distcnn.job.wording import Wording, as_keyword, worded
from distcnn.layers import Layer
from distcnn.models.base import Shape

LayersOf = Callable[
    [Shape, int], Iterable[Layer]
]  # makes layers from the shape of images and the number of outputs


@dataclass(frozen=True)
class Job:
    """What all ranks do together.

    request: the settings.
    layers_of: makes the layers of the network, on every rank; None: the settings name the network.
    start: the net to begin with; None: that which the seed gives.
    callback: called after each epoch, on every rank.
    writes: whether there is a run's folder; otherwise nothing is written.
    arrays: the path of the file that holds arrays of the caller's meanwhile; None if there are none.
    say: how the caller's program writes settings in messages; None: a command runs the job, whose last line is the
        digest.
    """

    request: Request
    layers_of: LayersOf | None = None
    start: Start | None = None
    callback: Callback | None = None
    writes: bool = True
    arrays: str | None = None
    say: Wording | None = as_keyword

    @property
    def is_command(self) -> bool:
        """Whether a command runs the job."""
        return self.say is None

    def worded(self, message: str) -> str:
        """Return a message in the words of the caller."""
        return worded(message, self.say) if self.say else message
