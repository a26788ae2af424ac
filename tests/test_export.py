"""Trained nets in other frameworks: ONNX Runtime and PyTorch give our outputs."""

import json
from pathlib import Path

import numpy as np
import pytest

from distcnn import Net
from distcnn.errors import NetError
from distcnn.exchange import onnx_file, optional_packages
from distcnn.exchange.safetensors_file import safetensors_bytes
from distcnn.layers import (
    GELU,
    Add,
    BatchNorm2D,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GaussianPool2D,
    GlobalMeanPool2D,
    LocallyConnected2D,
    MaxPool2D,
    MeanPool2D,
    RadialBasis,
    ReLU,
    SaveAs,
    Sigmoid,
    SiLU,
    Softmax,
    StartFrom,
    TableConv2D,
    Tanh,
    TrainablePool2D,
)
from distcnn.models import MODELS, notation
from distcnn.parallel.serial import SerialComm
from tests.helpers.commands import call
from tests.helpers.nets import SMALLEST

CLASSES = "zero", "eins", "二"


def net_of(layers, shape):
    """Return a net with weights that are not those of the beginning, and a normalization."""
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    net, rng = Net(layers, shape, seed=1), np.random.default_rng(2)
    for name, array in net.arrays.items():
        array += np.abs(rng.normal(0, 0.1, array.shape)).astype(np.float32) * (1 if "var" in name else 0.3)
    net.normalize(np.linspace(0.2, 0.6, shape[0]), np.linspace(0.5, 2, shape[0]))
    return net


def check(layers, shape, softmax=False, normalize="graph"):
    net = net_of(layers, shape)
    content = onnx_file.onnx_bytes(net, CLASSES, softmax, normalize)
    assert onnx_file.difference(content, net, softmax, normalize) <= 1e-5


NAMES = [
    name for name in MODELS if name not in ("vgg16", "alexnet", "resnet56")
]  # of these, vgg16 has 528 MiB


@pytest.mark.parametrize("name", NAMES)
def test_every_model(name):
    shape = SMALLEST.get(name, MODELS[name].input_shape)
    check(MODELS[name].layers(shape, 10), shape)


LAYERS = [
    Conv2D(4, (3, 2), (2, 1), (1, 0), dilation=(1, 2), groups=2, bias=False),
    TableConv2D(((0, 1), (1,), (2, 3)), 3, padding=1),
    LocallyConnected2D(3, (3, 2), stride=(1, 2), padding=1),
    LocallyConnected2D(2, 3, bias=False),
    MaxPool2D(3, 2, 1),
    MaxPool2D(3, 2, ceil_mode=True),
    MaxPool2D((2, 3), (3, 2), (1, 1), ceil_mode=True),
    MeanPool2D(3, 2, 1, ceil_mode=True),
    MeanPool2D(3, 2, 1, count_include_pad=False),
    GaussianPool2D(3, 0.8, 2, 1, ceil_mode=True),
    TrainablePool2D((2, 3), ceil_mode=True),
    *(
        GlobalMeanPool2D(),
        BatchNorm2D(1e-3),
        ReLU(),
        Sigmoid(),
        SiLU(),
        GELU(),
        Tanh(1.7159, 2 / 3),
        Dropout(),
        Softmax(),
    ),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_every_layer(layer):
    check([layer], (4, 9, 8))


BRANCHES = {
    "add": [SaveAs("a"), Conv2D(4, 3, padding=1), Add("a")],
    "shortcut": [SaveAs("a"), Conv2D(6, 3, 2, 1), Add("a", 2)],
    "concatenate": [
        SaveAs("a"),
        Conv2D(3, 1),
        ReLU(),
        SaveAs("b"),
        StartFrom("a"),
        Conv2D(2, 1),
        Concatenate("b"),
    ],
    "features": [Flatten(), SaveAs("a"), Dense(5), Concatenate("a"), RadialBasis(np.eye(3, 293))],
}


@pytest.mark.parametrize("name", BRANCHES)
def test_branches(name):
    check(BRANCHES[name], (4, 9, 8))


def test_normalization_and_softmax():
    layers = [Conv2D(3, 3), ReLU(), Flatten(), Dense(3)]
    for normalize in ("graph", "fold", "none"):
        for softmax in (False, True):
            check(layers, (2, 6, 5), softmax, normalize)
    check([Flatten(), Dense(3, bias=False)], (2, 6, 5), normalize="fold")
    with pytest.raises(NetError, match=r"cannot be folded into Conv2D\(3, 3, padding=1\)"):
        check([Conv2D(3, 3, padding=1)], (2, 6, 5), normalize="fold")


def test_a_layer_of_the_users_has_no_counterpart():
    class Own(ReLU):
        pass

    with pytest.raises(NetError, match="has no counterpart in ONNX"):
        check([Own()], (2, 6, 5))


def test_what_the_file_says():
    onnx = pytest.importorskip("onnx")
    net = net_of([Flatten(), Dense(3)], (1, 4, 4))
    model = onnx.load_from_string(onnx_file.onnx_bytes(net, CLASSES, True, "graph"))
    properties = {each.key: each.value for each in model.metadata_props}
    assert json.loads(properties["classes"]) == list(CLASSES)
    assert properties["weights_sha256"] == net.digest
    assert [each.name for each in (*model.graph.input, *model.graph.output)] == ["images", "probabilities"]


def in_torch(layer, shape):
    """Return the PyTorch module of a layer."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    nn = torch.nn
    match layer:
        case Conv2D():
            window = layer.kernel_size, layer.stride, layer.padding, layer.dilation
            return nn.Conv2d(shape[0], layer.out_channels, *window, groups=layer.groups, bias=layer.bias)
        case Dense():
            return nn.Linear(shape[0], layer.out_features, bias=layer.bias)
        case BatchNorm2D():
            return nn.BatchNorm2d(shape[0], eps=layer.eps)
        case MaxPool2D():
            return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding)
        case ReLU():
            return nn.ReLU()
        case Flatten():
            return nn.Flatten()


def test_pytorch_loads_the_safetensors_strictly_and_gives_our_outputs():
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from safetensors.torch import load

    layers = [
        Conv2D(4, 3, padding=1, bias=False),
        BatchNorm2D(),
        ReLU(),
        MaxPool2D(2),
        Conv2D(6, 3),
        Flatten(),
        Dense(3),
    ]
    net = net_of(layers, (2, 8, 8))
    module = torch.nn.Sequential(*map(in_torch, net.layers, net.shapes))
    module.load_state_dict(load(safetensors_bytes(net, CLASSES, notation.write(layers))), strict=True)
    images = np.random.default_rng(0).random((7, 2, 8, 8), np.float32)
    normalized = images * net.scale[:, None, None] + net.shift[:, None, None]
    with torch.no_grad():
        theirs = module.eval()(torch.from_numpy(normalized)).numpy()
    ours = net.predict(images)
    assert np.abs(theirs - ours).max() <= 1e-5 * np.abs(ours).max()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return the folder of a run in the working folder."""
    monkeypatch.chdir(tmp_path)
    done = call(SerialComm(), "distcnn.train", "--max-steps", 3, "--out", "run", "--progress", "none")
    assert done.returncode == 0, done.stderr


def export(*words, code=0):
    done = call(SerialComm(), "distcnn.export", "run", *words)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_the_command(run):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    assert "ONNX Runtime's outputs differ by" in export("net.onnx")
    assert "wrote net.safetensors: run/checkpoints/step-00000003.h5, step 3, 61,706 parameters" in export(
        "net.safetensors"
    )
    assert "already exists" in export("net.onnx", code=2)
    export("net.onnx", "--force", "--softmax", "--normalize", "none")
    assert "cannot be folded into Conv2D(6, 5, padding=2)" in export(
        "fold.onnx", "--normalize", "fold", code=2
    )
    assert "wanted a name that ends in .onnx or .safetensors" in export("net.pt", code=2)
    assert "--softmax does nothing for" in export("other.safetensors", "--softmax", code=2)
    assert sorted(path.name for path in Path().iterdir()) == ["net.onnx", "net.safetensors", "run"]


@pytest.mark.parametrize("name", ["onnx", "safetensors"])
def test_a_missing_package_is_named(run, name, monkeypatch):
    monkeypatch.setattr(optional_packages, "find_spec", lambda name: None)
    message = f"the package {name} is not installed, which this file needs: pip install 'distcnn[export]'"
    assert message in export(f"net.{name}", code=2)
