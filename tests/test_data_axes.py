"""The axes of images: found where a shape says which is which, asked for where it does not, and turned."""

import numpy as np
import pytest

from distcnn.data.axes import Axes, find_axes, given_axes, parse_axes
from distcnn.data.description import ImageArray
from distcnn.errors import DataError

FOUND = {
    # shape, whether the file has distcnn's own layout: letters
    ((9, 32, 32, 3), False): "NHWC",
    ((9, 28, 30, 3), True): "NHWC",
    ((9, 32, 32, 1), False): "NHWC",
    ((9, 3, 32, 32), False): "NCHW",
    ((9, 1, 6, 5), False): "NCHW",
    ((9, 28, 28), False): "NHW",
    ((9, 1, 784), False): "NHW",
    ((9, 28, 112), False): "NHW",
    ((9, 100, 16, 16), True): "NCHW",
    ((9, 10, 28, 112), True): "NCHW",
    ((9, 1, 1, 784), True): "NCHW",
    ((9, 3, 4, 4), True): "NCHW",
    ((9, 1, 3, 3), True): "NCHW",
}
OPEN = [
    ((9, 64, 64, 13), True),
    ((9, 60, 64, 13), True),
    ((9, 64, 64, 13), False),
    ((9, 32, 32, 10), False),
    ((9, 28, 28, 28), True),
    ((9, 28, 28, 28), False),
    ((9, 100, 16, 16), False),
    ((9, 3, 32, 3), False),
    ((9, 4, 4, 3), True),
    ((9, 40, 40, 2), True),
]


@pytest.mark.parametrize(("shape", "own"), FOUND)
def test_axes_are_found_where_a_shape_says_them(shape, own):
    assert str(find_axes("/x", shape, 9, own)) == FOUND[shape, own]


@pytest.mark.parametrize(("shape", "own"), OPEN)
def test_axes_are_asked_for_where_a_shape_leaves_them_open(shape, own):
    with pytest.raises(DataError) as raised:
        find_axes("/x", shape, 9, own)
    message = str(raised.value)
    a, b, c = shape[1:]
    assert f"--layout NHWC ({c} channel{'s' * (c != 1)} of {a} x {b})" in message
    assert f"--layout NCHW ({a} channel{'s' * (a != 1)} of {b} x {c})" in message
    assert ("no third dimension" in message) == (min(a, b, c) > 4)


def test_a_net_knows_the_axes_of_its_images():
    assert str(find_axes("/x", (9, 64, 64, 13), like=(13, 64, 64))) == "NHWC"
    assert str(find_axes("/x", (9, 64, 64, 13), like=(64, 64, 13))) == "NCHW"
    with pytest.raises(DataError):
        find_axes("/x", (9, 8, 8, 8), like=(8, 8, 8))


REFUSED = {
    (
        9,
        4096,
    ): "--layout NHW:64x64 or --layout NHWC:32x32x4 or --layout NCHW:4x32x32; volumes of 16 x 16 x 16 cannot",
    (9, 3072): "--layout NHWC:32x32x3 or --layout NCHW:3x32x32",
    (9, 1000): "--layout NHW:HxW with the height and width of 1000 pixels; volumes of 10 x 10 x 10",
    (9, 1, 16, 16, 16): "volumes or sequences of images",
    (9,): "these are no images",
    (): "these are no images",
}


@pytest.mark.parametrize("shape", REFUSED)
def test_other_shapes_are_refused_with_what_they_could_be(shape):
    with pytest.raises(DataError) as raised:
        find_axes("/x", shape, 9)
    assert REFUSED[shape] in str(raised.value)


@pytest.mark.parametrize(("shape", "layouts"), [((8, 6, 9), "HWN WHN"), ((8, 6, 3, 9), "HWCN WHCN CHWN")])
def test_samples_on_the_last_axis_are_asked_for(shape, layouts):
    with pytest.raises(DataError) as raised:
        find_axes("/x", shape, 9)
    assert all(f"--layout {each} (" in str(raised.value) for each in layouts.split())
    assert "the last axis counts the 9 samples" in str(raised.value)


IMAGES = np.arange(5 * 3 * 4 * 6, dtype=np.uint8).reshape(5, 3, 4, 6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "HWCN", "CWNH", "WHCN"])
def test_any_order_of_axes_is_turned(layout):
    stored = IMAGES.transpose(["NCHW".index(letter) for letter in layout])
    axes = parse_axes(layout)
    assert (axes.nchw(stored.shape), axes.sample) == (IMAGES.shape, layout.index("N"))
    np.testing.assert_array_equal(axes.turned(stored), IMAGES)


@pytest.mark.parametrize("layout", ["NHWC:4x6x3", "NCHW:3x4x6", "nwhc:6X4x3", "NHW:12x6"])
def test_flattened_images_get_their_axes_back(layout):
    axes = parse_axes(layout)
    letters = layout.upper().partition(":")[0]
    whole = IMAGES if "C" in letters else IMAGES.reshape(5, 1, 12, 6)
    order = ["NCHW".index(letter) for letter in letters] if "C" in letters else range(4)
    stored = whole.transpose(order).reshape(5, -1)
    np.testing.assert_array_equal(given_axes("/x", stored.shape, axes).turned(stored), whole)


@pytest.mark.parametrize(
    "text", ["", "NC", "NCH", "NHWD", "NNHW", "HWCN:3x4x5", "NHW:12", "NHW:3x4x6", "NHW:0x4"]
)
def test_other_layouts_are_refused(text):
    with pytest.raises(ValueError, match="is not valid; wanted"):
        parse_axes(text)


@pytest.mark.parametrize(
    ("shape", "layout"), [((5, 72), "NHW:8x8"), ((5, 6, 4), "NCHW"), ((5, 6, 4, 3), "NHW")]
)
def test_a_layout_that_does_not_fit_is_refused(shape, layout):
    with pytest.raises(DataError, match=rf"has shape .*, which --layout {layout} does not fit"):
        given_axes("/x", shape, parse_axes(layout))


TYPES = ["u1", "?", "i1", "<u2", ">u2", "<i4", ">u4", "<i8", ">u8", "<f2", ">f4", "<f8", ">f8"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_every_type_of_pixels_becomes_bytes_or_float32(dtype, layout):
    values = (IMAGES % 120).astype(dtype)
    stored = np.ascontiguousarray(values.transpose(["NCHW".index(letter) for letter in layout]))
    array = ImageArray("a.h5", "/x", 0, 5, stored.shape, stored.dtype.str, Axes(layout))
    rows = array.rows(stored)
    assert rows.dtype == {"u1": np.uint8, "?": np.uint8}.get(dtype, np.float32)
    assert rows.dtype.isnative
    assert rows.flags.c_contiguous
    np.testing.assert_array_equal(rows, (IMAGES % 120 > 0) * 255 if dtype == "?" else IMAGES % 120)
    assert array.is_plain == (layout == "NCHW" and dtype in ("u1", ">f4"))
    assert array.image == (3, 4, 6)
