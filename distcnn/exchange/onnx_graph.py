"""A graph of ONNX operators in the making: nodes are added one by one, constants by value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

OPSET, IR = 17, 8  # of 2022: runtimes of all ages read them, and all operators that are needed are there


class Graph:
    """Nodes and constants; a value is named by a text, as in ONNX."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: np.ndarray, name: str = "") -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = name or f"constant.{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        from onnx import helper

        name = f"value.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def floats(self, *numbers: float) -> str:
        """Add a float32 constant: a scalar for one number, else an array; return its name."""
        array = np.array(numbers, np.float32)
        return self.constant(array[0] if len(numbers) == 1 else array)

    def integers(self, *numbers: int) -> str:
        """Add an int64 constant, [n]; return its name."""
        return self.constant(np.array(numbers, np.int64))

    def model(
        self,
        output: str,
        names: tuple[str, str],
        shapes: tuple[tuple[int, ...], ...],
        properties: dict[str, str],
    ) -> onnx.ModelProto:
        """Return the model whose output is a value of the graph, for any number of samples.

        output: the value.
        names: of the input and of the output.
        shapes: of the input and of the output, without samples.
        properties: texts about the model.
        """
        from onnx import TensorProto, helper

        self.nodes.append(helper.make_node("Identity", [output], [names[1]]))
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
            for name, shape in zip(names, shapes, strict=True)
        ]
        graph = helper.make_graph(self.nodes, "distcnn", ends[:1], ends[1:], self.constants)
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="distcnn"
        )
        made.ir_version = IR
        helper.set_model_props(made, properties)
        return made
