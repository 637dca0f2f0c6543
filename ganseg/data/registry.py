"""The data sets by name. A new one is a file with a function (split, data_dir) -> Source, and an entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ganseg.data import flowers, synthetic
from ganseg.data.cache import cached
from ganseg.data.folder import open_folder
from ganseg.data.source import Source
from ganseg.data.split import Split
from ganseg.errors import UserError

SMALLEST = 16


@dataclass(frozen=True)
class DatasetSpec:
    """What is known of a data set before it is opened."""

    name: str
    title: str
    reader: Callable[[str, Path | None], Source]
    splits: tuple[str, ...]
    needs_dir: bool
    augment: str  # "none", "flip" or "crop_flip": what training does unless told otherwise
    how_to_get: str


def _synthetic(family: str, title: str, augment: str) -> DatasetSpec:
    reader = lambda split, data_dir: synthetic.open_family(family, split)  # noqa: E731
    splits = tuple(synthetic.SPLITS)
    return DatasetSpec(
        family, title, reader, splits, False, augment, "Nothing to get: it is drawn by the package."
    )


_BIRD = _synthetic("synthetic-bird", "Synthetic birds", "none")

DATASETS: dict[str, DatasetSpec] = {
    "synthetic": _BIRD,
    "synthetic-bird": _BIRD,
    "synthetic-face": _synthetic("synthetic-face", "Synthetic faces", "flip"),
    "flowers": DatasetSpec(
        "flowers", "Oxford Flowers-102", flowers.open_flowers, tuple(flowers.SPLITS), True, "crop_flip",
        "Unpack 102flowers.tgz and 102segmentations.tgz and put setid.mat beside jpg/ and segmim/; "
        "all three are at www.robots.ox.ac.uk/~vgg/data/flowers/102.",
    ),
    "folder": DatasetSpec(
        "folder", "A folder of images", open_folder, ("train", "test"), True, "flip",
        "Any folder of at least 64 jpg, png, webp or bmp images, also in folders below.",
    ),
}  # fmt: skip


def load(
    name: str,
    split: str,
    size: int,
    *,
    data_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    limit: int | None = None,
) -> Split:
    """One split of a data set at `size` x `size` pixels: decoded on the first call, memory-mapped afterwards.

    `limit`: at most so many images, evenly spaced over the split. UserError for an unknown name or split,
    a size below 16, a missing or wrong `data_dir`.
    """
    spec = describe(name)
    if split not in spec.splits:
        raise UserError(f"the data set {spec.name} has no split {split!r}; it has {', '.join(spec.splits)}.")
    if size < SMALLEST:
        raise UserError(f"images of {size} pixels are too small; the size must be {SMALLEST} or more.")
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} images leaves nothing; it must be 1 or more.")
    source = spec.reader(split, _existing_dir(spec, data_dir)).limited(limit)
    return cached(source, f"{spec.name}-{split}", size, cache_dir)


def describe(name: str) -> DatasetSpec:
    """The entry of a data set; UserError with the known names for an unknown one."""
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}.")
    return DATASETS[name]


def _existing_dir(spec: DatasetSpec, data_dir: str | Path | None) -> Path | None:
    if not spec.needs_dir:
        return None
    if not data_dir:
        raise UserError(f"the data set {spec.name} needs its folder (data_dir). {spec.how_to_get}")
    path = Path(data_dir).expanduser()
    if not path.is_dir():
        raise UserError(f"{path} is {'not a folder' if path.exists() else 'missing'}. {spec.how_to_get}")
    return path
