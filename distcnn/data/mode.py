"""The mode in which a dataset is used, on which the order of samples depends: in memory, or streamed."""

from distcnn.config.types import AUTO, MEMORY, STREAM
from distcnn.data import schema


def mode_of(mode: str, image_bytes: int) -> str:
    """Return MEMORY or STREAM for images of this size; mode: as the user asks for it, perhaps AUTO."""
    if mode != AUTO:
        return mode
    return STREAM if image_bytes > schema.MEMORY_LIMIT else MEMORY
