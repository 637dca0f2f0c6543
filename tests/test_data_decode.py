"""Image files: what is too large or of another kind is refused before it is decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganseg.data import flowers
from ganseg.data.files import MAX_PIXELS, open_checked, read_mask

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # Pillow's own, lower


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG whose header states its size and whose pixels are not there."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("read", [read_mask, flowers.read_mask])
def test_masks_above_the_limit_are_refused_before_they_are_decoded(tmp_path, read):
    with pytest.raises(ValueError, match="10001 x 10000 pixels is above the limit of 100,000,000 pixels"):
        read(bomb(tmp_path / "mask.png", 10_001, MAX_PIXELS // 10_000), 16)


def test_an_image_at_the_limit_is_opened(tmp_path):
    with open_checked(bomb(tmp_path / "image.png", 10_000, MAX_PIXELS // 10_000)) as image:
        assert image.size == (10_000, 10_000)


def test_a_file_that_would_start_a_program_is_not_opened(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "image.eps")
    (tmp_path / "image.eps").rename(tmp_path / "image.png")
    with pytest.raises(OSError, match="cannot identify"), open_checked(tmp_path / "image.png"):
        pass
