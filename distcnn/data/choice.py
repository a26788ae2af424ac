"""Which arrays are the images and labels of which split: as the user says, else by the usual names, else asked.

distcnn's own names, /train/images and so on, go before all others. Otherwise there must be exactly one pair of images
and labels for a split, in which every label has its image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from distcnn.data.contents import Candidate, candidates
from distcnn.data.description import SPLITS
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.names import CLASS_NAMES, IMAGES, LABELS, split_of_file
from distcnn.data.references import Reference, file_of, parse_reference, short
from distcnn.data.survey import OBJECTS, TEXT
from distcnn.data.wanted import OPTIONS, Wanted
from distcnn.errors import DataError

SHOWN = 4  # candidates in a message

Pair = tuple[Candidate, Candidate | None]  # images, and their labels if there are any


@dataclass(frozen=True)
class Chosen:
    """The arrays of a split; labels: () if it has none."""

    images: tuple[Reference, ...]
    labels: tuple[Reference, ...] = ()


@dataclass
class Choice:
    """The arrays of all splits.

    files: the paths of all files, those first that the user names.
    splits: by name; train first.
    ignored: the arrays that are not used, as text.
    own: whether all arrays have distcnn's own names.
    known: all arrays that the files hold.
    """

    files: tuple[str, ...]
    splits: dict[str, Chosen]
    ignored: list[str] = field(default_factory=list)
    own: bool = False
    known: list[Candidate] = field(default_factory=list)


def choose(files: tuple[str, ...], wanted: Wanted, splits: Sequence[str] = ("train",)) -> Choice:
    """Return which arrays of the files are used.

    files: absolute paths.
    wanted: what the user says of them.
    splits: the names of the splits that there must be.
    """
    known = [each for file in files for each in candidates(file, wanted.names_arrays)]
    known = _with_splits_of_files(known, files)
    if wanted.names_arrays:
        chosen = _named(files, known, wanted)
    else:
        found = {split: _pairs(files, known, split) for split in SPLITS}
        chosen = {split: each for split, each in found.items() if each}
    for split in splits:
        if split not in chosen:
            raise DataError(missing(split, IMAGES, files, known))
    _require_all_used(files, chosen)
    own = all(_is_own(split, each) for split, each in chosen.items())
    return Choice(files, chosen, _ignored(files, known, chosen), own, known)


def _require_all_used(files: tuple[str, ...], chosen: dict[str, Chosen]) -> None:
    """Raise DataError if nothing is used of a file that the user names, which may be a mistake."""
    used = {each.file for some in chosen.values() for each in (*some.images, *some.labels)}
    idle = next((file for file in files if file not in used), None)
    if idle and chosen:
        found = (
            f"nothing is used of {idle}, whose arrays have no usual names for a split that the others have"
        )
        raise DataError(f"{found}: leave it out, or name all arrays, as in --images FILE:/path FILE:/path")


# ---- as the user says ----


def _named(files: tuple[str, ...], known: list[Candidate], wanted: Wanted) -> dict[str, Chosen]:
    """Return the arrays that the user names; of images or labels alone, the other is found by its name."""
    chosen = {}
    for split in SPLITS:
        images, labels = (
            [r for text in texts for r in _references(text, files, known)] for texts in wanted.texts(split)
        )
        if images and not labels:
            labels = _labels_for(images, known, split)
        if labels and not images:
            raise DataError(
                f"--{OPTIONS[split]}labels names labels without images: say --{OPTIONS[split]}images, too".replace(
                    "_", "-"
                )
            )
        if images:
            chosen[split] = Chosen(tuple(images), tuple(labels))
    if "train" not in chosen:
        found = _pairs(files, known, "train")
        chosen = ({"train": found} if found else {}) | chosen
    return chosen


def _references(text: str, files: tuple[str, ...], known: list[Candidate]) -> list[Reference]:
    """Return the arrays that a text names, each with its file."""
    reference = parse_reference(text)
    if reference.path is None:
        file = file_of(str(reference.file), files)
        paths = [each.path for each in known if each.file == file and each.rows is None]
        if len(paths) != 1:
            raise DataError(
                f"{file} holds {', '.join(paths[:8]) or 'nothing'}; wanted {file}:/path with one of them"
            )
        return [replace(reference, file=file, path=paths[0])]
    if reference.file is not None:
        file = file_of(reference.file, files)
        if file not in files:
            raise DataError(f"{file} is none of the files of the data: name it, too, with --data")
        return [replace(reference, file=file)]
    holders = [each.file for each in known if each.path == reference.path]
    return [replace(reference, file=file) for file in dict.fromkeys(holders or files[:1])]


def _labels_for(images: list[Reference], known: list[Candidate], split: str) -> list[Reference]:
    """Return the labels of images that the user names alone: the only ones of a usual name and a fitting number."""
    labels = []
    for image in images:
        own = next((each for each in known if (each.file, each.path) == (image.file, image.path)), None)
        fits = [each for each in known if own and _are_pair(own, each) and each.file == image.file]
        said = [each for each in fits if each.split in (split, None)]
        if len(said) != 1:
            return []
        labels.append(said[0].reference())
    return labels


def _are_pair(image: Candidate, label: Candidate) -> bool:
    return label.kind == LABELS and bool(image.ends & label.ends)


# ---- by names ----


def _with_splits_of_files(known: list[Candidate], files: tuple[str, ...]) -> list[Candidate]:
    """Return the candidates; where files say different splits by their names, arrays that say none get those."""
    said = {file: split_of_file(os.path.basename(file)) for file in files}
    if len(set(said.values()) - {None}) > 1:
        known = [replace(each, split=each.split or said[each.file]) for each in known]
    has_train = any(each.split == "train" and each.kind for each in known)
    return [replace(each, split=each.split if has_train or each.split else "train") for each in known]


def _pairs(files: tuple[str, ...], known: list[Candidate], split: str) -> Chosen | None:
    """Return the images and labels of a split, from all files in their order; None if there are no images."""
    images, labels = [], []
    for file in files:
        image, label = _pair(
            [each for each in known if each.file == file and each.split == split], split, files
        )
        images += [image.reference()] if image else []
        labels += [label.reference()] if label else []
    return Chosen(tuple(images), tuple(labels)) if images else None


def _pair(
    known: list[Candidate], split: str, files: tuple[str, ...]
) -> tuple[Candidate | None, Candidate | None]:
    """Return the only images and labels of a split in one file, either of which may be missing.

    Raises DataError, with the lines to type, if there are several.
    """
    images = _preferred(known, IMAGES, split)
    labels = _preferred(known, LABELS, split)
    if len(images) <= 1 and len(labels) <= 1:
        return next(iter(images), None), next(iter(labels), None)
    pairs: list[Pair] = [(i, label) for i in images for label in labels if i.ends & label.ends]
    if len(pairs) == 1:
        return pairs[0]
    pairs = [(i, label) for i, label in pairs if label and _group(i) == _group(label)] or pairs
    if not labels and len(images) > 1:
        pairs = [(image, None) for image in images]
    found = ", ".join(f"{each.path} {each.found.shape}" for each in [*images, *labels][: 2 * SHOWN])
    raise DataError(
        f"several arrays may be the images and labels of {split}, {found}: {_lines(split, pairs, files)}"
    )


def _preferred(known: list[Candidate], kind: str, split: str) -> list[Candidate]:
    """Return the candidates for images or labels of a split: distcnn's own name alone, if it is there."""
    some = _once(each for each in known if each.kind == kind)
    own = [each for each in some if each.path == f"/{split}/{kind}"]
    if own or kind == LABELS:
        return own or some
    shaped = [
        [each for each in some if each.is_numbers and len(each.found.shape or ()) >= axes] for axes in (3, 2)
    ]
    return shaped[0] or shaped[1] or some


def _once(some: Iterable[Candidate]) -> list[Candidate]:
    """Return candidates, the first alone of those that are names of one dataset."""
    found: dict[object, Candidate] = {}
    for each in some:
        found.setdefault((each.found.place or each.path, each.file, each.rows), each)
    return list(found.values())


def _group(each: Candidate) -> str:
    return each.path.rpartition("/")[0]


# ---- messages ----


def missing(split: str, kind: str, files: tuple[str, ...], known: list[Candidate]) -> str:
    """Return the message for images or labels that are missing, with the lines to type.

    known: all candidates in the files.
    """
    here = [each for each in known if each.split in (split, None)]
    shaped = _once(each for each in here if each.is_numbers and len(each.found.shape or ()) >= 3)
    pairs: list[Pair] = [
        (image, label)
        for image in shaped
        for label in here
        if label is not image and label.file == image.file and _may_label(image, label)
    ]
    pairs = pairs or [(image, None) for image in shaped]
    with open_hdf5(shaped[0].file if shaped else files[0]) as file:
        try:
            find_dataset(file, f"/{split}/{kind}")
            found = f"/{split}/{kind} is not among the arrays that are named"
        except DataError as error:
            found = str(error)
    return f"{found}; {_lines(split, pairs, files)}" if pairs else found


def _may_label(image: Candidate, label: Candidate) -> bool:
    """Return whether an array may be the labels of images, by shape and type."""
    axes = [size for size in label.found.shape or () if size != 1]
    return bool(image.ends & label.ends) and len(axes) <= 2 and label.found.dtype not in (OBJECTS, "link")


def _lines(split: str, pairs: Sequence[Pair], files: tuple[str, ...]) -> str:
    """Return a phrase with the options to type for pairs of images and labels."""
    begin = "--" + OPTIONS[split].replace("_", "-")
    lines = []
    for image, label in pairs:
        names = [_name(each, files) if each else "/PATH" for each in (image, label)]
        lines.append(f"{begin}images {names[0]} {begin}labels {names[1]}")
    shown = " or ".join(lines[:SHOWN]) or f"{begin}images /PATH {begin}labels /PATH"
    unlabeled = "; where there are none, store a label for each image, file['labels'] = [0, 1, ...] in h5py"
    more = unlabeled * all(label is None for _, label in pairs)
    return f"say {shown}{' or another pair' * (len(lines) > SHOWN)}{more}"


def _name(each: Candidate, files: tuple[str, ...]) -> str:
    """Return the text by which a user names an array."""
    end = short(each.file, files)
    return f"{end}:{each.path}" if end else each.path


def _is_own(split: str, chosen: Chosen) -> bool:
    """Return whether the arrays of a split have distcnn's own names."""
    named = [(IMAGES, each) for each in chosen.images] + [(LABELS, each) for each in chosen.labels]
    return all(each.path == f"/{split}/{kind}" and each.start is each.stop is None for kind, each in named)


def _ignored(files: tuple[str, ...], known: list[Candidate], chosen: dict[str, Chosen]) -> list[str]:
    """Return the names of the arrays that are not used."""
    used = {(each.file, each.path) for some in chosen.values() for each in (*some.images, *some.labels)}
    places = {each.found.place for each in known if (each.file, each.path) in used} - {None}
    idle = [each for each in known if (each.file, each.path) not in used and each.found.place not in places]
    shown = [each for each in idle if not _names_classes(each)]
    return [_name(each, files) for each in shown]


def _names_classes(each: Candidate) -> bool:
    """Return whether an array holds names of classes, as `classes.named_classes` finds them."""
    return each.found.dtype == TEXT and each.path.strip("/") in CLASS_NAMES
