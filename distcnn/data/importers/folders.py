"""Folders of image files: a folder for each class, names that begin with their class, or a table of labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from distcnn.config.types import CLASSIFY
from distcnn.data import picture_record
from distcnn.data.importers import archive, pictures
from distcnn.data.importers.archive import files
from distcnn.data.importers.collector import Collector, Differ
from distcnn.data.importers.decoding import Item, decode_all
from distcnn.data.importers.differences import raise_difference
from distcnn.data.importers.folder_names import is_image
from distcnn.data.importers.folder_plan import Plan, make_plan
from distcnn.data.importers.importer import Importer, Options, Source
from distcnn.data.importers.notes import few, unread
from distcnn.data.importers.pictures import Format, Header, Picture, Unusable
from distcnn.data.importers.tables import SIZE, Names, Table, is_table, read_table
from distcnn.data.importers.writer import Pair, Samples
from distcnn.data.label_rows import understand_rows
from distcnn.data.picture_record import PictureRecord
from distcnn.data.split import move_to_end
from distcnn.errors import DataError
from distcnn.system.counts import counted


def recognizes(source: Source) -> bool:
    """Return whether a source holds image files."""
    return any(map(is_image, source.names))


def read_images(source: Source, options: Options) -> Samples:
    """Read and decode the images of a folder or an archive.

    Without a size in the options, all images must have the same size. The result is gray if the options say so, or if
    all images are gray.

    Raises DataError, which names the file, if an image cannot be used.
    """
    names = list(filter(is_image, source.names))
    tables = _tables(source, names, options)
    has_fraction = options.test_split is not None or options.validation_split is not None
    labels = _in_source(source, options.labels)
    plan = make_plan(str(source.path), names, tables, has_fraction, labels, options.task)
    _raise_missing(source, tables, options)
    for note in (*unread(source.names), *plan.notes):
        options.note(note)
    return _decoded(source, plan, options)


def _in_source(source: Source, labels: str | None) -> str | None:
    """Return what names the labels, for a path of a table in a folder its name there; labels: as in `Options`.

    Raises DataError if it is the path of a table that is not in the source.
    """
    if labels is None or labels in source.names or not os.path.isfile(labels):
        return labels
    name = os.path.relpath(os.path.realpath(labels), os.path.realpath(source.path)).replace(os.sep, "/")
    if name in source.names:
        return name
    if any(f"/{each}".endswith(f"/{labels}") for each in source.names):
        return labels
    raise DataError(f"{labels} is not in {source.path}, where tables are looked for: copy it there")


def _tables(source: Source, images: list[str], options: Options) -> dict[str, Table]:
    """Return the tables of a source that name its images."""
    found = {}
    names = Names(images)
    for name, content in files(source.path, is_table) if any(map(is_table, source.names)) else ():
        if len(content) > SIZE:
            raise DataError(
                f"{source.path}: {name} is larger than {SIZE >> 20} MiB; wanted a table: take it out"
            )
        if table := read_table(name, content, names, options.label_column, options.task):
            found[name] = table
    return found


def _raise_missing(source: Source, tables: dict[str, Table], options: Options) -> None:
    """Raise DataError if a table names files that are not there, unless the options say to leave such out."""
    for name, table in tables.items():
        if table.missing:
            found = f"{name} names {counted(len(table.missing), 'file')} not there ({few(table.missing)})"
            if not options.skip_damaged:
                raise DataError(f"{source.path}: {found}: add them, or leave them out with --skip-damaged")
            options.note(f"left out: {found}")


def _decoded(source: Source, plan: Plan, options: Options) -> Samples:
    """Return the samples of a plan."""
    places = {name: (split, row) for split, rows in plan.splits.items() for row, (name, _) in enumerate(rows)}
    collector = Collector(str(source.path), places, {split: len(rows) for split, rows in plan.splits.items()})
    wanted = Format(options.size, options.fit, 1 if options.gray else None, options.pixels)
    problems: dict[str, Unusable] = {}
    try:
        for name, found in _outcomes(source, places, wanted, options, "decoding images"):
            if isinstance(found, Unusable):
                problems[name] = found
            elif isinstance(found, Picture):
                collector.add(name, found)
    except Differ:
        headers = _outcomes(source, places, None, options, "reading headers")
        raise_difference(
            str(source.path), {name: found for name, found in headers if isinstance(found, Header)}
        )
    _raise_problems(source, problems, options)
    for note in collector.notes():
        options.note(note)
    return _samples(plan, collector, options)


def _outcomes(
    source: Source, wanted_names: Iterable[str], wanted: Format | None, options: Options, title: str
) -> Iterator[tuple[str, Picture | Header | Unusable]]:
    """Yield (name, outcome) of each image; raise DataError if one is not there any more."""
    missing = dict.fromkeys(wanted_names)
    items = _items(source, list(missing), wanted)
    outcomes = decode_all(items, len(missing), options.processes)
    for name, found in options.progress(outcomes, title, len(missing)):
        del missing[name]
        yield name, found
    if missing:
        raise DataError(
            f"{source.path}: {next(iter(missing))} has disappeared during the import: import it again"
        )


def _items(source: Source, names: Iterable[str], wanted: Format | None) -> Iterator[Item]:
    """Yield image files: of a folder their paths, which the processes open, of an archive their contents."""
    if source.is_folder:
        yield from (Item(name, os.path.join(source.path, name), wanted, archive.LIMIT) for name in names)
        return
    known = set(names)
    for name, content in files(source.path, known.__contains__):
        yield Item(name, content, wanted, archive.LIMIT)


def _raise_problems(source: Source, problems: dict[str, Unusable], options: Options) -> None:
    """Raise DataError if an image cannot be used, unless it is damaged and the options say to leave such images out."""
    lines = {name: f"{name} {problem.found}" for name, problem in sorted(problems.items())}
    damaged = {name for name, problem in problems.items() if problem.is_damage}
    if options.skip_damaged:
        for name in sorted(damaged):
            options.note(f"left out: {lines.pop(name)}")
    if len(lines) == 1:
        name, line = next(iter(lines.items()))
        raise DataError(f"{source.path}: {line}: {problems[name].remedy}")
    for line in lines.values():
        options.note(line)
    if lines:
        remedy = "--skip-damaged leaves damaged ones out" if damaged else "repair or remove them"
        raise DataError(
            f"{source.path}: {counted(len(lines), 'image')} cannot be used, listed above: {remedy}"
        )


def _samples(plan: Plan, collector: Collector, options: Options) -> Samples:
    """Return the samples without the images that were left out, which are moved to the end of the arrays."""
    splits: dict[str, Pair] = {}
    if not collector.images or not collector.good["train"].any():
        raise DataError("no image of the training split can be used: import other images")
    for split, rows in plan.splits.items():
        good = collector.good[split]
        images, kept = collector.images[split], int(good.sum())
        move_to_end(images, ~good)
        labels = [label for (_, label), is_good in zip(rows, good, strict=True) if is_good]
        known = None if None in labels else _numbers(plan, labels)
        splits |= {split: (images[:kept], known)} if kept else {}
    record = PictureRecord(options.fit if options.size else None, options.pixels, collector.depth or "8")
    attributes = {"decoder": pictures.decoder(), picture_record.ATTRIBUTE: record.text()}
    task, outputs = plan.rows or (CLASSIFY, plan.classes)
    return Samples(splits, outputs, attributes, task)


def _numbers(plan: Plan, labels: Sequence[int | None]) -> np.ndarray:
    """Return the labels of a split, [n] or [n, columns]; labels: the numbers of classes of the plan."""
    if plan.rows is None:
        return np.array(labels, np.int32)
    task, columns = plan.rows
    rows = np.array([[float(x) for x in text.split()] for text in plan.classes]).reshape(-1, len(columns))
    return understand_rows(task, {"labels": rows}).numbers("labels", rows[np.array(labels)], len(labels))


IMPORTER = Importer(
    title="a folder of images for each class",
    wanted="train/CLASS/IMAGE.jpg",
    recognizes=recognizes,
    read=read_images,
    has_image_files=True,
)
