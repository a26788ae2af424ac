"""The digests of weights that trainings must print, and short trainings that print them."""

from functools import cache

from tests.helpers.trainings import train_to, trainer_of

# The weights after 20 steps of the default training, by numerics: raise NUMERICS when they must change.
GOLDEN = {2: "fa60b7cc08c3af170688c410289aca570239cc3031c6433da7c46cfc37bc845f"}
STEPS = 20
MLP = "--model", "mlp"  # whose kernels are few: for where they are compiled
TRAIN = ("python", "-m", "distcnn.train", "--out", "run", "--progress", "none")


def digest(done):
    """Return what a training command printed in its last line."""
    assert done.returncode == 0, done.stderr
    name, value = done.stdout.splitlines()[-1].split()
    assert name == "weights_sha256"
    return value


@cache
def uninterrupted(steps):
    """Return the digest of the default training after so many steps."""
    return train_here(steps)


def train_here(steps=STEPS, argv=()):
    """Train for some steps in this process; return the digest."""
    return train_to(trainer_of(argv), steps).net.digest
