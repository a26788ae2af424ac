"""Augmentation: every distortion against its formula in float64, a function of seed, epoch and sample alone."""

import math

import numpy as np
import pytest

from distcnn.config import augment_spec
from distcnn.config.augment_spec import Augment, read, written
from distcnn.config.parser import parse
from distcnn.data.augmentation import Augmentation, gaussian
from distcnn.errors import ConfigError
from distcnn.lanes import LANES, aligned
from distcnn.layers.context import BlockContext
from distcnn.models import build
from distcnn.network.plan import Block
from distcnn.run import checkpoint
from tests.helpers import oracle
from tests.helpers.digests import TRAIN, digest, train_here
from tests.helpers.processors import AVX2
from tests.helpers.trainings import train_to, trainer_of

STREAM = 2**31 + 2
SHAPE = (2, 9, 11)
IMAGES = np.random.default_rng(0).integers(0, 256, (40, *SHAPE), dtype=np.uint8)
ALL = "shift=2,flip,rotate=30,scale=0.2,shear=0.3,elastic=20:2,brightness=0.4,cutout=3"
SCALE, SHIFT = np.array([1 / 64, 1 / 32], np.float32), np.array([-2.0, 1.0], np.float32)


def distorted(text, samples=range(16), seed=3, epoch=5, images=IMAGES, scale=SCALE, shift=SHIFT):
    """Return the samples as training sees them, [n, c, h, w]."""
    context, samples = BlockContext(seed), np.array(samples)
    augmentation = Augmentation(read(text), images.shape[1:], images.dtype, context)
    x = aligned((1, *images.shape[1:], LANES))
    block = Block.of(images, np.zeros(len(images)), samples)
    context.training, context.epoch, context.samples[:] = True, epoch, block.index
    augmentation.load(block, scale, shift, x)
    return np.moveaxis(x[0], -1, 0)[: len(samples)].copy()


def normalized(images):
    return images.astype(np.float32) * SCALE[:, None, None] + SHIFT[:, None, None]


def chances(position, sample, seed, epoch):
    """Return the generator's four numbers at a position."""
    words = oracle.philox((position, STREAM, sample, epoch), (seed % 2**32, seed >> 32))
    return [(word >> 8) * 2.0**-24 for word in words]


def field(sample, seed, epoch, alpha, sigma, height, width):
    """Return the elastic displacement, [2, h, w], in the words of Simard et al. 2003."""
    groups = -(-width // 4)
    result = np.zeros((2, height, width))
    window = np.exp(-(np.arange(-3 * sigma, 3 * sigma + 1) ** 2) / (2 * sigma**2))
    window /= window.sum()
    for f in range(2):
        noise = np.zeros((height, 4 * groups))
        for r in range(height):
            for g in range(groups):
                place = 2**16 + (f * height + r) * groups + g
                noise[r, 4 * g : 4 * g + 4] = 2 * np.array(chances(place, sample, seed, epoch)) - 1
        for r, q in np.ndindex(height, width):
            down, right = (
                [window[k - at + 3 * sigma] if abs(k - at) <= 3 * sigma else 0 for k in range(size)]
                for at, size in ((r, height), (q, 4 * groups))
            )
            result[f, r, q] = alpha * (np.outer(down, right) * noise).sum()
    return result


def wanted(sample, seed, epoch, asked):
    """Return one sample as it should be, by the formulas, one pixel after the other."""
    c, h, w = SHAPE
    a, b, d = (chances(k, sample, seed, epoch) for k in range(3))
    spread = lambda chance, limit: (2 * chance - 1) * limit  # noqa: E731
    angle, shear = math.radians(spread(a[3], asked.rotate)), spread(b[2], asked.shear)
    down, right = 1 / (1 + spread(b[0], asked.scale)), 1 / (1 + spread(b[1], asked.scale))
    if asked.flip and a[2] < 0.5:
        right = -right
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.array([[down, 0], [shear * down, right]])
    offset = [math.floor(chance * (2 * asked.shift + 1)) - asked.shift for chance in a[:2]]
    light = 1 + spread(b[3], asked.brightness)
    corner = [math.floor(x * size) - asked.cutout // 2 for x, size in zip(d, (h, w), strict=False)]
    moved = np.zeros((2, h, w))
    if asked.elastic[0]:
        moved = field(sample, seed, epoch, *map(int, asked.elastic), h, w)
    center, result = np.array([(h - 1) / 2, (w - 1) / 2]), np.zeros(SHAPE)
    for r, q in np.ndindex(h, w):
        if all(k <= x < k + asked.cutout for k, x in zip(corner, (r, q), strict=True)):
            continue
        y, x = matrix @ (np.array([r, q]) - center) + center + offset + moved[:, r, q]
        top, left = math.floor(y), math.floor(x)
        pixel = np.zeros(c)
        for i, j in np.ndindex(2, 2):
            if 0 <= top + i < h and 0 <= left + j < w:
                share = (1 - abs(y - top - i)) * (1 - abs(x - left - j))
                pixel += share * IMAGES[sample, :, top + i, left + j]
        result[:, r, q] = pixel * light * SCALE + SHIFT
    return result


@pytest.mark.check
@pytest.mark.parametrize("text", [*ALL.split(","), ALL])
def test_images_are_distorted_as_the_formulas_say(text):
    seed, samples = 3 + (5 << 32), (4, 23, 39)
    found = distorted(text, samples, seed)
    assert not np.allclose(found, normalized(IMAGES[[*samples]]))
    for image, sample in zip(found, samples, strict=True):
        np.testing.assert_allclose(image, wanted(sample, seed, 5, read(text)), atol=2e-4)


def test_whole_pixels_are_moved_and_not_changed():
    """A shift, with and without a flip, gives pixels of the image, to the bit, and zeros from outside."""
    found = distorted("shift=1,flip")
    border = np.pad(IMAGES, ((0, 0), (0, 0), (1, 1), (1, 1)))
    seen = set()
    for k, image in enumerate(found):
        places = {
            (r, q, way): normalized(border[k, :, r : r + 9, q : q + 11][:, :, ::way])
            for r in range(3)
            for q in range(3)
            for way in (1, -1)
        }
        matching = [place for place, each in places.items() if np.array_equal(each, image)]
        assert len(matching) == 1
        seen.update(matching)
    assert len(seen) > 8


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_all_shifts_come_about_equally_often(limit):
    """An image of one white pixel shows where the pixel went."""
    images = np.zeros((1, 1, 9, 9), np.uint8)
    images[0, 0, 4, 4] = 255
    one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
    counts = np.zeros((9, 9), int)
    for epoch in range(900):
        image = distorted(f"shift={limit}", [0], 0, epoch, images, one, none)[0, 0]
        counts += image == 255
    inside = counts[4 - limit : 5 + limit, 4 - limit : 5 + limit]
    assert inside.sum() == counts.sum() == 900
    mean = 900 / (2 * limit + 1) ** 2
    assert abs(inside - mean).max() < 5 * mean**0.5


def test_a_sample_s_distortion_depends_only_on_seed_epoch_and_number():
    first = distorted(ALL, range(16))
    assert np.array_equal(distorted(ALL, [7, 3, 30])[:2], first[[7, 3]])
    for other in (distorted(ALL, range(16), seed=4), distorted(ALL, range(16), epoch=6)):
        assert all(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    same = np.repeat(IMAGES[:1], 16, 0)
    assert len({image.tobytes() for image in distorted(ALL, images=same)}) == 16


def test_what_is_drawn_for_one_does_not_depend_on_the_others():
    """The same shift, whether or not there is a hole, too."""
    shifted, both = distorted("shift=2"), distorted("shift=2,cutout=3")
    assert ((shifted == both) | (both == 0)).all()


def test_floats_are_distorted_like_bytes():
    assert np.array_equal(distorted(ALL), distorted(ALL, images=IMAGES.astype(np.float32)))


@pytest.mark.parametrize("sigma", [0.01, 0.5, 4, 64])
def test_the_window_adds_up_to_one_and_is_symmetric(sigma):
    window = gaussian(sigma)
    assert window.dtype == np.float32
    assert window.sum() == pytest.approx(1, abs=1e-6)
    assert np.array_equal(window, window[::-1])
    k = np.arange(len(window)) - len(window) // 2
    exact = np.exp(-(k**2) / (2 * sigma**2))
    np.testing.assert_allclose(window, exact / exact.sum(), atol=1e-7)


# ---- what a user asks for ----


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("none", "none"),
        ("crop=4,flip", "shift=4,flip"),
        (" flip , shift=2", "shift=2,flip"),
        ("elastic=34:4.5,rotate=10.0", "rotate=10,elastic=34:4.5"),
        (ALL, ALL),
    ],
)
def test_texts_have_one_form(text, same):
    assert written(read(text)) == same
    assert read(same) == read(text)
    assert parse(["--augment", text], "test").config.augment == same


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("flop", "unknown augmentation 'flop'; did you mean flip?"),
        ("", "unknown augmentation ''; wanted some of shift=PIXELS"),
        ("shift=2,", "unknown augmentation ''"),
        ("shift=2,crop=4", "shift and crop are the same"),
        ("flip,flip", "flip is given twice"),
        ("flip=1", "flip=1 is not valid; wanted flip without a value"),
        ("shift", "shift is not valid; wanted shift=, above 0: a whole number up to 4096"),
        ("shift=1.5", "shift=1.5 is not valid"),
        ("shift=0", "shift=0 is not valid"),
        ("shift=-1", "shift=-1 is not valid"),
        ("rotate=nan", "rotate=nan is not valid"),
        ("rotate=181", "wanted rotate=, above 0: a number up to 180"),
        ("brightness=1.5", "brightness=1.5 is not valid"),
        ("elastic=34", "a number up to 1000 and, after a colon, a number up to 64"),
        ("elastic=34:4:1", "elastic=34:4:1 is not valid"),
        ("none,flip", "unknown augmentation 'none'"),
    ],
)
def test_senseless_wishes_are_refused_in_a_line(text, complaint):
    with pytest.raises(ConfigError) as caught:
        parse(["--augment", text], "test")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["shift=9", "cutout=10"])
def test_what_leaves_nothing_of_an_image_is_refused(text):
    with pytest.raises(ConfigError, match="would leave nothing of images of 9 x 11; wanted less than 9"):
        distorted(text)


def test_the_defaults_distort_nothing():
    assert read(augment_spec.NONE) == Augment()
    assert parse([], "test").config.augment == augment_spec.NONE


# ---- in training ----

WISH = ("--augment", "shift=2,flip,rotate=10,elastic=34:4,brightness=0.2,cutout=8")
GOLDEN = "e3b7fc9acb577339631e0f46a30074cb56e63875012a05d6f68e34ef7de0eebe"  # after 15 steps


@pytest.mark.parametrize("threads", ["1", "3"])
def test_augmented_weights_are_the_same_with_any_number_of_threads(threads):
    assert train_here(15, (*WISH, "--threads", threads)) == GOLDEN


@pytest.mark.mpi(ranks=(3,))
def test_augmented_weights_are_the_same_on_ranks(call):
    """Stopped in the middle of an epoch, and resumed on these ranks and on another number."""
    assert digest(call("distcnn.train", *WISH, "--out", "a", "--max-steps", 7)) != GOLDEN
    alone = trainer_of(WISH)
    alone.restore(checkpoint.newest("a/checkpoints", pytest.fail)[1], "here")
    assert train_to(alone, 15).digest == GOLDEN
    assert digest(call("distcnn.train", "--out", "a", "--max-steps", 15, "--resume", "auto")) == GOLDEN


@pytest.mark.slow
def test_augmented_weights_on_avx2(run, tmp_path):
    done = run(*TRAIN, *WISH, "--max-steps", 15, cwd=tmp_path, env=AVX2)
    assert digest(done) == GOLDEN


def test_only_training_is_augmented():
    """Neither what evaluation sees nor what it gives changes; every worker distorts as the first one does."""
    net, plain = (build("mlp", SHAPE, 3, 0) for _ in range(2))
    net.augmentation = Augmentation(read(ALL), SHAPE, IMAGES.dtype, net.context)
    block = Block.of(IMAGES, np.arange(40) % 3, np.arange(16))
    heads = []
    for each in (net, plain):
        each.start_evaluation(1)
        each.evaluate_block(block)
        heads.append(each.sums.copy())
    assert np.array_equal(*heads)
    assert np.array_equal(net.predict(IMAGES), plain.predict(IMAGES))
    seen = []
    for each in (net, net.worker_copy(), plain):
        each.start(1, 2)
        each.train_group([block])
        seen.append(each.group.first.x.inside.copy())
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])
