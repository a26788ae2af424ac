"""A net over flat buffers: shapes, parameters, memory, and the plans that run it."""
