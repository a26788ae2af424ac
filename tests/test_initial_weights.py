"""Initial weights from a file: they compute what they have computed; a head starts anew; strange files are refused."""

import json
import pickle
import struct
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from distcnn import Net, verify
from distcnn.errors import CheckpointError
from distcnn.exchange.safetensors_file import safetensors_bytes
from distcnn.layers import BatchNorm2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distcnn.run import checkpoint
from distcnn.training.initial_weights import initial
from tests.helpers.arrays import normal
from tests.helpers.datasets import write
from tests.helpers.digests import digest
from tests.helpers.trainings import trainer_of

LAYERS = [Conv2D(4, 3, padding=1, bias=False), BatchNorm2D(), ReLU(), MaxPool2D(2), Flatten(), Dense(3)]
SHAPE, CLASSES = (2, 6, 6), ("a", "b", "c")
TRAIN = "distcnn.train", "--model", "mlp", "--progress", "none", "--data", "data.h5"


def packed(tensors, metadata=None):
    """Return a safetensors file, as this format is specified."""
    header, content = {"__metadata__": metadata} if metadata else {}, b""
    for name, array in tensors.items():
        kind = {"f2": "F16", "f4": "F32", "f8": "F64", "i8": "I64", "u2": "BF16"}[array.dtype.str[1:]]
        place = [len(content), len(content) + array.nbytes]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": place}
        content += array.tobytes()
    return framed(json.dumps(header).encode(), content)


def framed(header, content=b""):
    return struct.pack("<Q", len(header)) + header + content


def net_of(layers=LAYERS, shape=SHAPE):
    return Net(layers, shape, seed=1)


def other_weights(net):
    """Give a net weights that are not its initial ones; return them by name."""
    for k, (name, array) in enumerate(net.arrays.items()):
        array += np.abs(normal(*array.shape, seed=k)) * (1 if "var" in name else 0.1)
    return {name: array.copy() for name, array in net.arrays.items()}


def begun(path, net, classes=CLASSES, pixels="uint8"):
    """Give a net the weights in a file; return what it begins with."""
    found = initial(str(path), net, classes, pixels)
    for name, array in found.arrays.items():
        net.arrays[name][...] = array
    return found


def complaint(path, net, classes=CLASSES):
    with pytest.raises(CheckpointError) as caught:
        initial(str(path), net, classes, "uint8")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(path))


# ---- safetensors ----


def test_a_pytorch_model_gives_its_outputs(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    save_file = pytest.importorskip("safetensors.torch", reason="safetensors is not installed").save_file
    nn = torch.nn
    torch.manual_seed(0)
    first = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
    model = nn.Sequential(*first, nn.Flatten(), nn.Linear(36, 3))
    images = torch.from_numpy(normal(40, *SHAPE))
    model(images)  # which moves the running statistics
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    net = net_of()
    found = begun(tmp_path / "model.safetensors", net)
    assert found.note == f"initial weights: 7 of 7 arrays from {tmp_path / 'model.safetensors'}"
    with torch.no_grad():
        wanted = model.eval()(images).numpy()
    np.testing.assert_allclose(net.predict(images.numpy()), wanted, atol=1e-5 * np.abs(wanted).max())


def test_our_own_file_brings_its_normalization(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    old, net, path = net_of(), net_of(), tmp_path / "net.safetensors"
    weights = other_weights(old)
    old.normalize([100.0, 50.0], [30.0, 70.0])
    path.write_bytes(safetensors_bytes(old, CLASSES, "", "uint8"))
    found = begun(path, net)
    assert found.note.endswith("arrays from " + str(path) + ", images normalized as there")
    net.normalize(*found.normalization)
    images = 100 + 50 * normal(20, *SHAPE)
    np.testing.assert_allclose(net.predict(images), old.predict(images), atol=1e-5)
    for name, array in weights.items():
        np.testing.assert_array_equal(net.arrays[name], array)
    for pixels in ("float32", ""):  # of other pixels, or if --normalize none is given
        assert initial(str(path), net, CLASSES, pixels).normalization is None


@pytest.mark.parametrize(
    "scale", ["[]", "[1.0]", "[0.0, 1.0]", "[-1.0, 1.0]", "[NaN, 1.0]", "[1e300, 1e-300]"]
)
def test_a_normalization_that_is_none(tmp_path, scale):
    metadata = {"scale": scale, "shift": "[1.0, 2.0]", "pixels": "uint8"}
    (tmp_path / "a").write_bytes(packed(other_weights(net_of()), metadata))
    assert begun(tmp_path / "a", net_of()).normalization is None


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8", "bf16"])
def test_types_of_numbers(tmp_path, kind):
    net = net_of()
    weights = {name: np.float16(array).astype(np.float32) for name, array in other_weights(net).items()}
    if kind == "bf16":
        weights = {
            name: (array.view(np.uint32) >> 16 << 16).view(np.float32) for name, array in weights.items()
        }
        stored = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in weights.items()}
    else:
        stored = {name: array.astype(kind) for name, array in weights.items()}
    stored["1.num_batches_tracked"] = np.array(7)
    (tmp_path / "a.safetensors").write_bytes(packed(stored))
    found = begun(tmp_path / "a.safetensors", net)
    assert found.arrays.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(net.arrays[name], array)


HEAD = {"5.weight": (3, 36), "5.bias": (3,)}


@pytest.mark.parametrize(
    ("classes", "changed", "reason"),
    [
        ((), {"5.weight": (7, 36), "5.bias": (7,)}, "7 outputs there, 3 here"),
        ((), {"5.weight": None, "5.bias": None}, "the file has none"),
        (("c", "b", "a"), HEAD, "other classes there"),
    ],
)
def test_a_head_starts_anew_and_it_is_said(tmp_path, classes, changed, reason):
    net, start = net_of(), net_of().arrays
    stored = other_weights(net_of())
    stored |= {name: shape and np.ones(shape, np.float32) for name, shape in changed.items()}
    metadata = {"classes": json.dumps(classes)}
    arrays = {name: array for name, array in stored.items() if array is not None}
    (tmp_path / "a.safetensors").write_bytes(packed(arrays, metadata))
    found = begun(tmp_path / "a.safetensors", net)
    assert found.note.startswith("initial weights: 5 of 7 arrays from ")
    assert found.note.endswith(f"; 5.weight, 5.bias start anew: {reason}")
    for name, array in net.arrays.items():
        np.testing.assert_array_equal(array, start[name] if name in HEAD else stored[name])


@pytest.mark.parametrize(
    ("task", "metadata", "targets", "note"),
    [
        ("regress", {"target_mean": "[1.0, 2, 3]"}, "its metadata are not those", ""),
        ("regress", {"target_mean": "[1.0, 2.0, 3.0]"}, "its mean and standard deviation of targets", ""),
        *(
            (
                "regress",
                {"target_mean": "[1.0, 2.0, 3.0]", "target_std": f"[1.0, {wrong}, 3.0]"},
                "its mean and standard deviation of targets are not those of a net; use another file",
                "",
            )
            for wrong in ("0.0", "-1.0", "NaN", "1e300", "2.0, 2.0")
        ),
        (
            "regress",
            {"task": "regress", "target_mean": "[1.0, 2.0, 3.0]", "target_std": "[4.0, 5.0, 6.0]"},
            [[1, 2, 3], [4, 5, 6]],
            ", targets standardized as there",
        ),
        ("regress", {}, [[0, 0, 0], [1, 1, 1]], ", targets as they are, as it says no standardization"),
        ("regress", {"task": "what\nis this"}, [[0, 0, 0], [1, 1, 1]], "says no standardization"),
        ("regress", {"task": "classify"}, None, "5.weight, 5.bias start anew: trained for classify there"),
        ("multilabel", {"task": "classify"}, None, "start anew: trained for classify there"),
        (
            "multilabel",
            {"task": "multilabel", "classes": '["c", "b", "a"]'},
            None,
            "anew: other labels there",
        ),
        ("classify", {"task": "classify"}, None, "7 of 7 arrays from FILE"),
    ],
)
def test_targets_come_with_the_head_unless_it_is_for_another_task(tmp_path, task, metadata, targets, note):
    net, path = Net(LAYERS, SHAPE, task=task), tmp_path / "a"
    path.write_bytes(packed(other_weights(net_of()), metadata))
    if isinstance(targets, str):
        assert targets in complaint(path, net)
        return
    found = initial(str(path), net, CLASSES, "uint8")
    assert found.note.replace(str(path), "FILE").endswith(note)
    assert (found.targets is None) == (targets is None)
    if targets is not None:
        np.testing.assert_array_equal(found.targets, targets)


@pytest.mark.parametrize("there", [(), ("0", "1", "2"), CLASSES])
def test_a_head_of_the_same_classes_is_taken(tmp_path, there):
    (tmp_path / "a").write_bytes(packed(other_weights(net_of()), {"classes": json.dumps(there)}))
    assert len(begun(tmp_path / "a", net_of()).arrays) == 7


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"0.weight": (8, 2, 3, 3)},
            ": of another network: 0.weight is (8, 2, 3, 3) there, (4, 2, 3, 3) here; use the",
        ),
        (
            {"5.weight": (3, 144)},
            ": of another network: 5.weight is (3, 144) there, (3, 36) here; use the --model and",
        ),
        (
            {"1.bias": None},
            ": of another network: it has no 1.bias (4,); it has 0.weight, 1.weight, 5.weight, ...",
        ),
        ({"5.bias": None}, ": of another network: it has no 5.bias (3,)"),
        ({"6.weight": (3, 3)}, ": of another network: it has 6.weight (3, 3), this one not; use the --model"),
        (
            {"0.num_batches_tracked": ()},
            ": of another network: it has 0.num_batches_tracked (), this one not",
        ),
    ],
)
def test_the_first_difference_is_named(tmp_path, changed, said):
    stored = other_weights(net_of()) | {
        name: shape if shape is None else np.zeros(shape, np.float32) for name, shape in changed.items()
    }
    stored = {name: array for name, array in stored.items() if array is not None}
    (tmp_path / "a").write_bytes(packed(stored))
    assert complaint(tmp_path / "a", net_of()).startswith(said)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("0.weight", np.nan, ": 0.weight has numbers that are not finite"),
        ("5.bias", np.inf, ": 5.bias has numbers that are not finite"),
        ("1.running_var", -0.5, ": 1.running_var has a variance below 0"),
    ],
)
def test_numbers_that_no_net_has(tmp_path, name, value, said):
    stored = other_weights(net_of())
    stored[name].flat[0] = value
    (tmp_path / "a").write_bytes(packed(stored))
    assert complaint(tmp_path / "a", net_of()).startswith(said)


def test_nothing_that_fits(tmp_path):
    (tmp_path / "a").write_bytes(packed({"1.weight": np.ones((5, 4)), "1.bias": np.ones(5)}))
    assert "nothing of it fits" in complaint(tmp_path / "a", net_of([Flatten(), Dense(3)], (1, 2, 2)))


# ---- files that are none, or hostile ----

ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def header_of(**changes):
    return framed(json.dumps({"a": ONE | changes}).encode(), bytes(4))


HOSTILE = {
    "nothing": (b"", "its header would have 0 bytes"),
    "short": (b"\x05\0\0", "its header would have 5 bytes"),
    "longer than the file": (framed(b"{}")[:-1], "its header would have 2 bytes"),
    "an endless header": (
        struct.pack("<Q", 2**63) + b"{}",
        "its header would have 9,223,372,036,854,775,808 bytes",
    ),
    "text": (b"these are no weights at all", "its header would have"),
    "no JSON": (framed(b"{'a'}"), "its header is not JSON"),
    "no UTF-8": (framed(b'{"\xff": 1}'), "its header is not JSON"),
    "a list": (framed(b"[]"), "its header is not an object"),
    "deep": (framed(b"[" * 100_000 + b"]" * 100_000), "nested too deeply"),
    "a huge number": (framed(b'{"a": ' + b"9" * 10_000 + b"}"), "its header is not JSON"),
    "a name twice": (framed(b'{"a": 1, "a": 2}'), "a name occurs twice"),
    "metadata": (framed(b'{"__metadata__": {"a": 1}}'), "its metadata are not texts"),
    "classes": (
        framed(json.dumps({"__metadata__": {"classes": "{}"}}).encode()),
        "its metadata are not those of",
    ),
    "scale": (
        framed(json.dumps({"__metadata__": {"scale": '["x"]'}}).encode()),
        "its metadata are not those of",
    ),
    "deep classes": (
        framed(json.dumps({"__metadata__": {"classes": "[" * 100_000}}).encode()),
        "nested too deeply",
    ),
    "no entry": (framed(b'{"a": 3}'), "'a' has no type, shape and place"),
    "more": (header_of(code="x"), "'a' has no type, shape and place"),
    "a type": (header_of(dtype="object"), "'a' is of type 'object', wanted float32"),
    "a type of another kind": (header_of(dtype=["F32"]), "'a' is of type"),
    "negative": (header_of(shape=[-1]), "'a' has a shape or a place that is not in whole numbers"),
    "a fraction": (header_of(shape=[1.0]), "'a' has a shape or a place that is not in whole numbers"),
    "true": (header_of(shape=[True]), "'a' has a shape or a place that is not in whole numbers"),
    "many axes": (header_of(shape=[1] * 10_000), "'a' has a shape or a place that is not in whole numbers"),
    "a large shape": (header_of(shape=[2**40]), "'a' has another size than its shape"),
    "backwards": (header_of(data_offsets=[4, 0]), "'a' has another size than its shape"),
    "outside": (header_of(data_offsets=[2**40, 2**40 + 4]), "its tensors have gaps or overlap"),
    "overlap": (
        framed(json.dumps({"a": ONE, "b": ONE}).encode(), bytes(4)),
        "its tensors have gaps or overlap",
    ),
    "cut off": (header_of()[:-1], "its tensors end after 4 bytes, the file after 3"),
    "more bytes": (header_of() + b"x", "its tensors end after 4 bytes, the file after 5"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(tmp_path, name):
    content, said = HOSTILE[name]
    (tmp_path / "a").write_bytes(content)
    line = complaint(tmp_path / "a", net_of())
    assert line.startswith(": not a safetensors file: ")
    assert said in line
    assert line.endswith("; wanted a checkpoint of distcnn, the folder of a run, or a safetensors file")


MUTATIONS = 300


def mutated(content, random):
    """Return a file in which some bytes were replaced, taken out, or put in twice."""
    found = bytearray(content)
    for _ in range(random.integers(1, 4)):
        place, length = random.integers(0, 600), random.integers(1, 9)
        piece = found[place : place + length]
        change = [bytes(random.integers(32, 127, length, np.uint8)), b"", piece * 2, bytes(length)]
        found[place : place + length] = change[random.integers(0, 4)]
    return bytes(found)


def test_mutated_files_are_refused_in_one_line_or_are_harmless(tmp_path):
    random, net, seen = np.random.default_rng(0), net_of(), set()
    content = packed(other_weights(net_of()), {"classes": '["a", "b", "c"]', "scale": "[1.0, 2.0]"})
    for _ in range(MUTATIONS):
        (tmp_path / "a").write_bytes(mutated(content, random))
        try:
            initial(str(tmp_path / "a"), net, CLASSES, "uint8")
        except CheckpointError as error:
            seen.add(str(error).removeprefix(str(tmp_path)))
    assert len(seen) > 20


class Harm:
    """An object whose pickle writes a file when it is loaded."""

    def __reduce__(self):
        return Path.write_text, (Path("harm"), "done")


def test_pickles_are_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for begin in (b"", b"PK\x03\x04"):
        (tmp_path / "net.pt").write_bytes(begin + pickle.dumps(Harm()))
        line = complaint(tmp_path / "net.pt", net_of())
        assert line.startswith(
            ": a pickle of torch.save, which can run code when it is read: in PyTorch write it anew"
        )
        assert "save_file(torch.load('net.pt', weights_only=True), 'net.safetensors')" in line
    assert not (tmp_path / "harm").exists()


def test_a_header_as_long_as_the_mark_of_a_pickle(tmp_path):
    """0x280 bytes, of which a pickle's first two are a part."""
    content = packed(other_weights(net_of()), {"x": ""})
    missing = 0x280 - int.from_bytes(content[:8], "little")
    (tmp_path / "a").write_bytes(packed(other_weights(net_of()), {"x": " " * missing}))
    assert (tmp_path / "a").read_bytes()[:2] == b"\x80\x02"
    assert len(initial(str(tmp_path / "a"), net_of(), CLASSES, "").arrays) == 7


def test_what_cannot_be_read(tmp_path):
    assert complaint(tmp_path / "none", net_of()).startswith(
        ": cannot be read: No such file or directory; wanted"
    )
    assert complaint("/dev/zero", net_of()).startswith(": cannot be read: a pipe or a device")
    assert "no good checkpoint in this folder" in complaint(tmp_path, net_of())


# ---- our own runs ----


def test_fine_tuning_from_a_run(here, monkeypatch):
    """The features of a run, another number of classes, what is said, and what resume and verify make of it."""
    monkeypatch.setattr(verify, "without_user_cache", lambda comm: nullcontext())  # which takes long
    write("data.h5")
    assert here(*TRAIN, "--max-steps", 3, "--out", "old").returncode == 0
    write("other.h5", {"train/labels": np.arange(12) % 4}, [*"abcd"])
    words = "--init-from", "old", "--epochs", 4, "--progress", "lines"
    train = "distcnn.train", "--model", "mlp", "--data", "other.h5", *words, "--out"
    done = here(*train, "new", "--max-steps", 1)
    assert done.returncode == 0, done.stderr
    path = Path("old/checkpoints/step-00000003.h5")
    said = f"initial weights: 4 of 6 arrays from {path.absolute()}, images normalized as there; "
    assert said + "5.weight, 5.bias start anew: 3 outputs there, 4 here\n" in done.stdout
    old, new = checkpoint.load(path), checkpoint.load("new/checkpoints/step-00000001.h5")
    np.testing.assert_array_equal(old.mean, new.mean)
    assert new.initial_weights
    assert here("distcnn.verify", "new").returncode == 0
    resumed = here("distcnn.train", "--out", "new", "--resume", "auto", "--progress", "none")
    assert digest(resumed) == digest(here(*train, "whole"))
    # A checkpoint may change or be gone; what began with it knows.
    Path("new/checkpoints/step-00000002.h5").unlink(missing_ok=True)
    for each in sorted(Path("new/checkpoints").glob("step-*"))[:-1]:
        each.unlink()
    here(*TRAIN, "--out", "old", "--resume", "auto", "--max-steps", 5)
    changed = here("distcnn.verify", "new")
    assert changed.returncode == 2
    assert "old has changed since the training, which began with its weights: bring that" in changed.stderr
    other = here("distcnn.train", "--out", "new", "--resume", "auto", "--init-from", "data.h5")
    assert other.returncode == 2
    assert "--init-from" in other.stderr


def test_the_weights_that_are_evaluated_are_those_of_the_file(tmp_path):
    """Also the EMA of weights begins with them."""
    trainer = trainer_of(["--model", "mlp", "--ema-decay", "0.9"])
    arrays = {name: array + 1 for name, array in trainer.net.arrays.items()}
    trainer.replica.begin_with(arrays, None)
    np.testing.assert_array_equal(trainer.replica.ema.result, trainer.net.weights)
    assert trainer.net.parameters["5.bias"][0] == 1
    assert trainer.replica.state().initial_weights == trainer.digest
