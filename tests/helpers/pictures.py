"""Image files of every kind, and folders of them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

KINDS = {"jpg": "JPEG", "ppm": "PPM", "bmp": "BMP", "tif": "TIFF", "gif": "GIF"}


def encoded(pixels, name="a.png", **options):
    """Return the bytes of an image file."""
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, KINDS.get(name.rpartition(".")[2], "PNG"), **options)
    return file.getvalue()


def plain(value, shape=(6, 5, 3)):
    """Return an image file, all of whose pixels have one value."""
    return encoded(np.full(shape, value, np.uint8))


def write(folder, contents):
    """Write files, by their names, into a folder."""
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else plain(content))
    return folder


def png16(pixels):
    """Return a PNG of 16 bits per channel, in color, which Pillow cannot write; pixels: uint16 [h, w, 3]."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )
