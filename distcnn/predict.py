"""Predict classes: `python -m distcnn.predict CHECKPOINT --data FILE.h5 [--out FILE.h5|FILE.csv] [--json]`."""

import json
import sys

from distcnn.config.settings import from_toml
from distcnn.data.images import Images, load_images
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.world import run as run_command
from distcnn.run.predictions import Predictions, require_free, told, write
from distcnn.training.load import SPLITS, check_images, find, load_pool, load_split, parser
from distcnn.training.prediction import predict


def parse(words):
    """Return the options of the command line."""
    ours = parser("predict", "What a checkpoint takes images for, labelled or not.")
    ours.add_argument(
        "--split", choices=SPLITS, help="which images [test, or /images of a file without parts]"
    )
    ours.add_argument("--out", metavar="FILE", help="write all predictions to a .h5 or .csv file")
    ours.add_argument("--force", action="store_true", help="replace FILE if it is there")
    return ours.parse_args(words)


def images_of(comm: Comm, state, where, options):
    """Return the Images that the options name, which fit the state."""
    if options.split == "validation":
        dataset, split = load_split(comm, state, where, options.split, options.data)
        return Images(split.images, split.labels, dataset.classes, dataset.name, options.split)
    config = on_root(comm, from_toml, state.config_toml, where)
    found = load_images(options.data or config.data, comm, options.split)
    on_all(comm, check_images, found.name, found.images, found.classes, state, where)
    return found


def main(comm: Comm) -> None:
    """Predict on all ranks together; rank 0 writes and prints."""
    options = on_root(comm, parse, sys.argv[1:])
    on_root(comm, lambda: options.out and require_free(options.out, options.force))
    path, state = on_root(comm, find, options.checkpoint)
    found = images_of(comm, state, path, options)
    pool = load_pool(comm, state, path, found.images, options.threads)
    predicted, probabilities = predict(pool, found.images, comm)
    about = {"checkpoint": str(path), "epoch": state.epoch, "step": state.step, "data": found.name}
    about |= {"part": found.part, "weights_sha256": pool.net.digest}

    def tell():
        predictions = Predictions(predicted, probabilities, found.labels, state.classes, about)
        if options.out:
            write(options.out, predictions)
        if options.json:
            whole = {} if options.out else {"predicted": predicted.tolist()}
            print(json.dumps(predictions.record | whole))
            return
        print(f"{path}, step {state.step}, on {len(predicted):,} {found.part} images of {found.name}")
        print(*told(predictions), *([f"wrote {options.out}"] if options.out else []), sep="\n")

    on_root(comm, tell)


if __name__ == "__main__":
    run_command(main)
