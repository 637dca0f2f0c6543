"""`flowers`: Oxford Flowers-102 (Nilsback and Zisserman 2008) in the publisher's layout.

    data_dir/jpg/image_00001.jpg        8,189 photographs
    data_dir/setid.mat                  the official split: tstid, trnid, valid
    data_dir/segmim/segmim_00001.jpg    optional: the flower, its background painted blue
    data_dir/trimaps/image_00001.png    optional: 0 background, 1 flower, 255 ignore; for some images only

The paper trains on `tstid` (6,149 images) and tests on `trnid` (1,020).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from ganseg.data.decode import decode_all, read_rgb
from ganseg.data.source import Chunk, Source, file_stamps
from ganseg.errors import UserError

SPLITS = {"train": ("tstid",), "test": ("trnid",), "val": ("valid",), "test+val": ("trnid", "valid")}
IGNORE = 255
LAYOUT = (
    "It needs jpg/image_00001.jpg ... and setid.mat, as www.robots.ox.ac.uk/~vgg/data/flowers/102 gives them."
)


def split_ids(data_dir: Path, split: str) -> np.ndarray:
    """(N,) image numbers of a split in the publisher's order; UserError where setid.mat fails."""
    path = data_dir / "setid.mat"
    if not path.is_file():
        raise UserError(f"{path} is missing. {LAYOUT}")
    try:
        table = scipy.io.loadmat(path)
        return np.concatenate([table[key].ravel() for key in SPLITS[split]]).astype(np.int64)
    except Exception as error:  # scipy raises errors of many types for a damaged file
        raise UserError(f"{path} cannot be read ({error}). Download it again. {LAYOUT}") from error


def fractions_resized(planes: list[np.ndarray], size: int) -> np.ndarray:
    """(P, S, S) float32: what fraction of each new pixel is true in each of P boolean planes (H, W)."""
    resized = [
        Image.fromarray(p.astype(np.float32)).resize((size, size), Image.Resampling.BOX) for p in planes
    ]
    return np.stack([np.asarray(plane) for plane in resized])


def read_segmim(path: Path, size: int) -> np.ndarray:
    """(S, S) uint8 foreground of a segmim image: binarised at full resolution, then resized by majority."""
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB"))
    background = (rgb[..., 0] == 0) | (rgb[..., 1] == 0) | (rgb[..., 2] == 254)
    return (fractions_resized([~background], size)[0] >= 0.5).astype(np.uint8)


def read_trimap(path: Path, size: int) -> np.ndarray:
    """(S, S) uint8 of 0 background, 1 foreground, 255 ignore: the value that most of the new pixel had."""
    with Image.open(path) as image:
        trimap = np.asarray(image)
    values = np.array([0, 1, IGNORE], np.uint8)
    return values[fractions_resized([trimap == value for value in values], size).argmax(0)]


def label_file(data_dir: Path, number: int) -> Path | None:
    """The segmentation of one image: the publisher's where there is one, else a trimap, else None."""
    places = (
        data_dir / "segmim" / f"segmim_{number:05d}.jpg",
        data_dir / "trimaps" / f"image_{number:05d}.png",
    )
    return next((path for path in places if path.is_file()), None)


def read_label(path: Path | None, size: int) -> np.ndarray:
    """(S, S) uint8 foreground; all 255 for an image without a segmentation."""
    if path is None:
        return np.full((size, size), IGNORE, np.uint8)
    return (read_trimap if path.parent.name == "trimaps" else read_segmim)(path, size)


def open_flowers(split: str, data_dir: Path) -> Source:
    """One of the paper's splits, or "test+val"; UserError that names what is missing."""
    ids = split_ids(data_dir, split)
    images = [data_dir / "jpg" / f"image_{number:05d}.jpg" for number in ids]
    _refuse_missing(data_dir, split, images)
    labelled = any((data_dir / name).is_dir() for name in ("segmim", "trimaps"))
    labels = [label_file(data_dir, number) for number in ids]
    sizes, times = file_stamps(images + [path for path in labels if path])

    def read_one(position: int, size: int) -> dict[str, np.ndarray]:
        arrays = {"images": read_rgb(images[position], size)}
        return arrays | ({"foreground": read_label(labels[position], size)} if labelled else {})

    def read(positions: np.ndarray, size: int) -> Chunk:
        chunk = decode_all(positions, lambda position: read_one(position, size))
        if chunk.broken:
            first, reason = chunk.broken[0]
            name = images[positions[first]]
            raise UserError(
                f"{name} or its segmentation cannot be read ({reason}). Unpack the archive again."
            )
        return chunk

    identity = ("flowers", sizes, [path.parent.name if path else "" for path in labels])
    return Source(tuple(path.name for path in images), identity, read, stamp=times)


def _refuse_missing(data_dir: Path, split: str, images: list[Path]) -> None:
    missing = [path.name for path in images if not path.is_file()]
    if missing:
        some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        count = f"{len(missing)} of the {len(images)} {split} images are missing"
        raise UserError(f"{data_dir / 'jpg'}: {count}: {some}. {LAYOUT}")
