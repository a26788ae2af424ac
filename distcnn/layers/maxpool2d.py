"""Maximum pooling."""

from dataclasses import dataclass

from distcnn.errors import NetError
from distcnn.kernels import pooling as kernels
from distcnn.layers.base import Layer, check_image, check_whole, window_count


@dataclass(frozen=True)
class MaxPool2D(Layer):
    """y = the largest x of each window; ties go to the first in row order (PyTorch's MaxPool2d).

    (c, h, w) -> (c, oh, ow); stride: the kernel's size unless given; padding: at most half a kernel, never the
    maximum; ceil_mode: windows that the edge cuts off count too.
    """

    kernel_size: int
    stride: int | None = None
    padding: int = 0
    ceil_mode: bool = False

    applies_mask = True

    def __post_init__(self):
        check_whole(self, 1, kernel_size=self.kernel_size, stride=self.step)
        check_whole(self, 0, padding=self.padding)
        if self.padding > self.kernel_size // 2:
            raise NetError(f"{self}: padding may be at most half of kernel_size, {self.kernel_size // 2}")

    @property
    def step(self):
        """Distance of neighbouring windows."""
        return self.kernel_size if self.stride is None else self.stride

    def output_shape(self, shape):
        c, h, w = check_image(self, shape)
        oh, ow = (
            window_count(self, n, self.kernel_size, self.step, self.padding, self.ceil_mode) for n in (h, w)
        )
        return c, oh, ow

    def forward(self, wiring):
        kernel = kernels.max_pool_forward(self.kernel_size, self.step)
        return [(kernel, (wiring.x.inside, self.padding, wiring.y.inside))]

    def backward(self, wiring):
        if wiring.dx is None:
            return []
        partition = self.step == self.kernel_size and all(
            count * self.step - self.padding >= size
            for count, size in zip(wiring.y.shape[1:], wiring.x.shape[1:], strict=True)
        )
        kernel = kernels.max_pool_backward(self.kernel_size, self.step, partition, wiring.mask)
        arrays = wiring.x.inside, wiring.y.inside, wiring.dy.inside, self.padding, wiring.dx.inside
        return [(kernel, arrays)]
