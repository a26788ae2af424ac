"""A net: its parameters in flat buffers, and the plans that compute it.

A plan is the list of kernel calls for one block of sixteen samples. Planning turns a list of layers into a plan in
these steps; all but the last two are pure functions.

1. shapes.infer_shapes: compute the shapes between the layers, and collect the parameters that each layer declares.
2. passes.to_nodes: make one node per layer.
3. passes.fold_norms, for inference: multiply each batch norm into the weights of the layer before it.
4. passes.fuse_forward, and for training passes.fuse_backward: let the kernels of a layer do the work of a ReLU next to
   it.
5. buffer_sharing.value_slots and gradient_slots: number the arrays; a layer that works in place adds no array.
6. buffer_sharing.training_slots and inference_slots: decide which arrays share memory.
7. buffer_sharing.allocate: allocate the memory.
8. plan.Plan for training, inference_plan.InferencePlan for evaluation: ask each layer for its kernel calls.

`group_plan.Group` runs the plans of blocks whose batch norms share statistics. `weights.Weights` is what all threads
share, `worker.Worker` what one thread owns, and `net.Net` the public class.
"""
