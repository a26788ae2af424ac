"""The list of all importers; the names of the files in a source determine which importer reads it."""

from pathlib import Path

from distcnn.data.importers import arrays, cifar, folders, idx, stl
from distcnn.data.importers.fractions import with_fractions
from distcnn.data.importers.importer import Importer, Options, Source, of_pictures
from distcnn.data.importers.writer import Samples
from distcnn.errors import DataError

# The first importer that recognizes a source reads it.
IMPORTERS: tuple[Importer, ...] = (
    idx.IMPORTER,
    cifar.IMPORTER,
    stl.IMPORTER,
    arrays.IMPORTER,
    folders.IMPORTER,
)


def read_source(path: str | Path, options: Options | None = None) -> Samples:
    """Return the samples of a folder or an archive.

    path: the path of the folder or the archive.
    options: the user's options; None for the defaults.

    Raises DataError if no importer recognizes the source, or if an option of PICTURES is set without image files.
    """
    source, options = Source(path), options or Options()
    importer = next((each for each in IMPORTERS if each.recognizes(source)), None)
    if importer is None:
        raise DataError(f"{path} holds {len(source.names)} files, but none of a known format; {_wanted()}")
    if not importer.has_image_files and (option := of_pictures(options)):
        raise DataError(f"{path} holds no image files, so {option} does not apply; leave it out")
    return with_fractions(str(path), importer.read(source, options), options)


def titles() -> str:
    """Return the titles of all importers as text, for a help message."""
    *titles, last = (importer.title for importer in IMPORTERS)
    return f"{', '.join(titles)} or {last}"


def _wanted() -> str:
    *wanted, last = (importer.wanted for importer in IMPORTERS)
    return f"wanted {', '.join(wanted)}, or {last}"
