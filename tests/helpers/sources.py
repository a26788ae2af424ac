"""Small data of every kind that distcnn reads, under the names that the documentation uses."""

import io
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

import distcnn

DIGITS = Path(distcnn.__file__).parent / "data" / "digits.h5"
TRAIN, TEST = 160, 48  # samples
IDX = {"train": "train", "test": "t10k"}


def make(folder: Path) -> None:
    """Write all sources and datasets into a folder."""
    digits = _digits()
    _dataset(folder / "mnist.h5", digits)
    _dataset(folder / "images.h5", digits)
    _dataset(folder / "cifar10.h5", _color_images())
    _idx(folder / "mnist", digits)
    _cifar(folder / "cifar-10-binary.tar.gz", _color_images())
    _pets(folder / "pets.zip")
    with h5py.File(folder / "new.h5", "w") as file:
        file["images"] = digits["test"][0][:20]
    train, test = digits["train"], digits["test"]
    np.savez(folder / "arrays.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    (folder / "photos").mkdir()
    for k, name in enumerate(("photo.png", "photos/1.png", "photos/2.png")):
        Image.fromarray(digits["test"][0][k, 0]).save(folder / name)


def _digits():
    with h5py.File(DIGITS) as file:
        return {
            split: (file[f"{split}/images"][:n], file[f"{split}/labels"][:n])
            for split, n in (("train", TRAIN), ("test", TEST))
        }


def _color_images():
    random = np.random.default_rng(0)
    return {
        split: (random.integers(0, 256, (n, 3, 32, 32), np.uint8), np.arange(n, dtype=np.uint8) % 10)
        for split, n in (("train", TRAIN), ("test", TEST))
    }


def _dataset(path, samples):
    with h5py.File(path, "w") as file:
        for split, (images, labels) in samples.items():
            file[f"{split}/images"], file[f"{split}/labels"] = images, labels
        file.attrs["classes"] = [str(label) for label in range(10)]


def _idx(folder, samples):
    folder.mkdir()
    for split, (images, labels) in samples.items():
        for kind, array in ("images", images[:, 0]), ("labels", labels.astype(np.uint8)):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            head = bytes([0, 0, 8, array.ndim]) + sizes
            (folder / f"{IDX[split]}-{kind}-idx{array.ndim}-ubyte").write_bytes(head + array.tobytes())


def _cifar(path, samples):
    names = {"train": "data_batch_1.bin", "test": "test_batch.bin"}
    contents = {"batches.meta.txt": "\n".join(f"class{k}" for k in range(10)).encode()}
    for split, (images, labels) in samples.items():
        rows = zip(labels, images, strict=True)
        contents[names[split]] = b"".join(bytes([label]) + image.tobytes() for label, image in rows)
    with tarfile.open(path, "w:gz") as file:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))


def _pets(path):
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as file:
        for split, n in ("train", 20), ("test", 5):
            for kind in "cat", "dog":
                for k in range(n):
                    picture = io.BytesIO()
                    Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)).save(picture, "JPEG")
                    file.writestr(f"pets/{split}/{kind}/{k}.jpg", picture.getvalue())
