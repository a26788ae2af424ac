"""States of a training, made up, as checkpoints hold them."""

from dataclasses import fields, replace

import numpy as np

from distcnn.run.state import State, digest
from distcnn.run.training_progress import Best

SHAPES = [(f"{index}.weight", (2, index + 1)) for index in range(12)] + [("12.bias", (3,))]
SIZE = sum(int(np.prod(shape)) for _, shape in SHAPES)


def state(step=7, **changes):
    values = np.arange(2 * SIZE, dtype=np.float32)
    made = State(
        config_toml='model = "lenet5"\ndata = "/ü.h5"\n',
        numerics=3,
        seed=2**63 - 1,
        data_fingerprint="ab" * 32,
        classes=("zero", "eins", "二"),
        input_shape=(2, 28, 30),
        mean=np.array([0.5, 1e-38], np.float32),
        std=np.array([1.5, 3e38], np.float32),
        names_and_shapes=SHAPES,
        parameters=values[:SIZE],
        auxiliary_state={"means": -values[SIZE:], "averages": values[SIZE:] + 0.5},
        epoch=3,
        step=step,
        epoch_sums=(2**80 + 1, 50, 60),
        network="Dense(3)\nSaveAs('ü')\n",
        user_code={"net:Swish": "ab" * 32},
        best=Best(2, (0.75, -(2.0**-40))),
        initial_weights="cd" * 32,
        digest=digest(values[SIZE:] + 0.5),
    )
    return replace(made, **changes)


def described(one):
    """Return a state as values that can be compared."""
    contents = {field.name: getattr(one, field.name) for field in fields(State)}
    contents |= contents.pop("auxiliary_state")
    return {
        key: (x.dtype.str, x.shape, x.tobytes()) if isinstance(x, np.ndarray) else x
        for key, x in contents.items()
    }
