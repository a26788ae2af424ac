"""All that can be imported: told apart by the names of the files, never by options."""

from pathlib import Path

from distcnn.data.importers import cifar, folders, idx
from distcnn.data.importers.importer import Importer, Options, Source
from distcnn.data.importers.writer import Samples
from distcnn.errors import DataError

IMPORTERS: tuple[Importer, ...] = (
    idx.IMPORTER,
    cifar.IMPORTER,
    folders.IMPORTER,
)  # the first that fits reads


def read_source(path: str | Path, options: Options | None = None) -> Samples:
    """Return the samples of a folder or archive.

    Raises DataError for what no importer recognizes, and for `size` and `gray` where there are no image files.
    """
    source, options = Source(path), options or Options()
    importer = next((each for each in IMPORTERS if each.recognizes(source)), None)
    if importer is None:
        raise DataError(f"{path} holds {len(source.names)} files, none of which is known; {_wanted()}")
    if (options.size or options.gray) and not importer.has_image_files:
        option = "--size" if options.size else "--gray"
        raise DataError(f"{path} holds no image files, so {option} is not possible; leave it out")
    return importer.read(source, options)


def titles() -> str:
    """Return what can be imported, in words, for a help text."""
    *titles, last = (importer.title for importer in IMPORTERS)
    return f"{', '.join(titles)} or {last}"


def _wanted() -> str:
    *wanted, last = (importer.wanted for importer in IMPORTERS)
    return f"wanted {', '.join(wanted)}, or {last}"
