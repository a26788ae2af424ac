"""Planning, first part: turn a list of layers into a list of nodes, and decide which layer's kernels do which work.

A pass is a pure function from a list of nodes to a list of nodes; training and inference use the same passes. The
second part of planning, distcnn.network.buffer_sharing, decides which arrays share memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from distcnn.layers.base import Layer
from distcnn.layers.declarations import Shape


@dataclass(frozen=True)
class Node:
    """A layer in a plan. The input x of a node is the output y of the previous node.

    layer: the layer.
    number: the index of the layer in the net.
    shape, out_shape: the shapes of x and y, without samples.
    norm: the node of the next layer, if that is a norm which is folded into the weights of this layer; else None.
    epilogue: the next layer, if the forward kernels of this layer also do the work of the next one; else None.
    prologue: the previous layer, if the backward kernels of this layer also apply its derivative; else None.
    forward_fused: whether the previous node does the forward pass of this one, so that x and y are the same array.
    backward_fused: whether the next node does the backward pass of this one, so that dx and dy are the same array.
    """

    layer: Layer
    number: int
    shape: Shape
    out_shape: Shape
    norm: "Node | None" = None
    epilogue: Layer | None = None
    prologue: Layer | None = None
    forward_fused: bool = False
    backward_fused: bool = False


def for_training(layers: Sequence[Layer], shapes: Sequence[Shape]) -> list[Node]:
    """Return the nodes of a plan for training, one per layer; arguments as in `to_nodes`."""
    return fuse_backward(fuse_forward(to_nodes(layers, shapes)))


def for_inference(layers: Sequence[Layer], shapes: Sequence[Shape]) -> list[Node]:
    """Return the nodes of a plan for inference, without the layers that it does not compute.

    These are norms that were folded, layers that were fused, and layers that act only in training. Arguments as in
    `to_nodes`.
    """
    return drop_fused(drop_training_only(fuse_forward(fold_norms(to_nodes(layers, shapes)))))


def to_nodes(layers: Sequence[Layer], shapes: Sequence[Shape]) -> list[Node]:
    """Return one node per layer, before any pass.

    layers: the layers of the net.
    shapes: the shapes between the layers, beginning with the shape of the input.
    """
    return [Node(layer, k, shapes[k], shapes[k + 1]) for k, layer in enumerate(layers)]


def fold_norms(nodes: list[Node]) -> list[Node]:
    """Remove each norm that comes directly after a layer whose weights it can be multiplied into; return the rest."""
    found: list[Node] = []
    for node in nodes:
        before = found[-1] if found else None
        if before and not before.norm and _has_kind(node.layer, before.layer.fusion.weights):
            found[-1] = replace(before, norm=node, out_shape=node.out_shape)
        else:
            found.append(node)
    return found


def fuse_forward(nodes: list[Node]) -> list[Node]:
    """Fuse the forward pass of each layer into the previous layer where its kernels allow that; return all nodes."""
    found = list(nodes)
    for k in range(1, len(nodes)):
        if _has_kind(nodes[k].layer, nodes[k - 1].layer.fusion.forward):
            found[k - 1] = replace(found[k - 1], epilogue=nodes[k].layer)
            found[k] = replace(found[k], forward_fused=True)
    return found


def fuse_backward(nodes: list[Node]) -> list[Node]:
    """Fuse the backward pass of each layer into the next layer where its kernels allow that; return all nodes."""
    found = list(nodes)
    for k in range(1, len(nodes)):
        if _has_kind(nodes[k - 1].layer, nodes[k].layer.fusion.backward):
            found[k - 1] = replace(found[k - 1], backward_fused=True)
            found[k] = replace(found[k], prologue=nodes[k - 1].layer)
    return found


def drop_training_only(nodes: list[Node]) -> list[Node]:
    """Return the nodes without layers that act only in training."""
    return [node for node in nodes if not node.layer.training_only]


def drop_fused(nodes: list[Node]) -> list[Node]:
    """Return the nodes without those whose forward pass the previous node does."""
    return [node for node in nodes if not node.forward_fused]


def _has_kind(layer: Layer, kinds: tuple[str, ...]) -> bool:
    return layer.fusion.kind is not None and layer.fusion.kind in kinds
