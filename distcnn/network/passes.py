"""Planning, first part: a chain of layers becomes a list of nodes, and passes say which layer computes what.

Plans for training and for inference use the same passes; a pass is a function from a list of nodes to a list of nodes.
What follows, which arrays share memory, is in distcnn.network.buffer_sharing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from distcnn.layers.base import Layer
from distcnn.layers.declarations import Shape


@dataclass(frozen=True)
class Node:
    """A layer in a plan; x of a node is y of the node before it.

    layer: the layer.
    number: its place in the net.
    shape, out_shape: of x and y, without samples.
    norm: the node of the layer behind this one that is folded into this one's weights; None if none is.
    epilogue: the layer behind this one whose forward pass this one's kernels do too; None if none.
    prologue: the layer before this one whose derivative this one's kernels apply too; None if none.
    forward_fused: whether the node before does this one's forward pass: x and y are the same array.
    backward_fused: whether the node behind does this one's backward pass: dx and dy are the same array.
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
    """Return a node for each layer; arguments as in `chain`."""
    return fuse_backward(fuse_forward(chain(layers, shapes)))


def for_inference(layers: Sequence[Layer], shapes: Sequence[Shape]) -> list[Node]:
    """Return the nodes that are left when norms are folded and ReLUs are fused; arguments as in `chain`."""
    return drop_fused(drop_training_only(fuse_forward(fold_norms(chain(layers, shapes)))))


def chain(layers: Sequence[Layer], shapes: Sequence[Shape]) -> list[Node]:
    """Return the nodes of a chain of layers.

    shapes: those between the layers, that of the input first.
    """
    return [Node(layer, k, shapes[k], shapes[k + 1]) for k, layer in enumerate(layers)]


def fold_norms(nodes: list[Node]) -> list[Node]:
    """Return the nodes without norms that stand directly behind a layer whose weights can take them in."""
    found: list[Node] = []
    for node in nodes:
        before = found[-1] if found else None
        if before and not before.norm and _has_kind(node.layer, before.layer.fusion.weights):
            found[-1] = replace(before, norm=node, out_shape=node.out_shape)
        else:
            found.append(node)
    return found


def fuse_forward(nodes: list[Node]) -> list[Node]:
    """Return the nodes, with the forward pass of a layer done by the layer before it where that is able to."""
    found = list(nodes)
    for k in range(1, len(nodes)):
        if _has_kind(nodes[k].layer, nodes[k - 1].layer.fusion.forward):
            found[k - 1] = replace(found[k - 1], epilogue=nodes[k].layer)
            found[k] = replace(found[k], forward_fused=True)
    return found


def fuse_backward(nodes: list[Node]) -> list[Node]:
    """Return the nodes, with the backward pass of a layer done by the layer behind it where that is able to."""
    found = list(nodes)
    for k in range(1, len(nodes)):
        if _has_kind(nodes[k - 1].layer, nodes[k].layer.fusion.backward):
            found[k - 1] = replace(found[k - 1], backward_fused=True)
            found[k] = replace(found[k], prologue=nodes[k - 1].layer)
    return found


def drop_training_only(nodes: list[Node]) -> list[Node]:
    """Return the nodes that inference computes."""
    return [node for node in nodes if not node.layer.training_only]


def drop_fused(nodes: list[Node]) -> list[Node]:
    """Return the nodes without those whose forward pass the node before does."""
    return [node for node in nodes if not node.forward_fused]


def _has_kind(layer: Layer, kinds: tuple[str, ...]) -> bool:
    return layer.fusion.kind is not None and layer.fusion.kind in kinds
