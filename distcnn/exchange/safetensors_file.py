"""A trained net as a safetensors file, with the names and shapes of a PyTorch module that has the same layers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from distcnn.exchange.optional_packages import require_package
from distcnn.layers import BatchNorm2D
from distcnn.network.net import Net


def safetensors_bytes(net: Net, classes: Sequence[str], network: str, pixels: str = "") -> bytes:
    """Return the bytes of a safetensors file.

    Parameters and running statistics have the names that `torch.nn.Sequential` of the same layers gives them, as
    "0.weight"; the number counts all layers. A batch norm also has its number of batches, as PyTorch's does.

    net: the net.
    classes: the names of the outputs, in the file's metadata in JSON.
    network: the layers in the notation of networks, in the metadata.
    pixels: the type that says what pixels mean, such as "uint8", in the metadata; "" if that is not known.
    """
    require_package("safetensors")
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(array, "<f4") for name, array in net.arrays.items()}
    for number, layer in enumerate(net.layers):
        if isinstance(layer, BatchNorm2D):
            tensors[f"{number}.num_batches_tracked"] = np.zeros((), np.int64)
    metadata = {
        "classes": json.dumps(list(classes)),
        "task": net.task.name,
        "network": network,
        "pixels": pixels,
        "weights_sha256": net.digest,
        "scale": json.dumps(net.scale.tolist()),
        "shift": json.dumps(net.shift.tolist()),
    }
    if net.task.standardizes:
        mean, std = net.targets.array.tolist()
        metadata |= {"target_mean": json.dumps(mean), "target_std": json.dumps(std)}
    return save(tensors, metadata)
