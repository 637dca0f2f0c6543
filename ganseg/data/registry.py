"""The data sets by name. A new one is a file with a function (split, data_dir) -> Source, and an entry."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ganseg.data import celeba, cub, cub_lists, flowers, folder, publishers, synthetic, taichi
from ganseg.data.cache import cached
from ganseg.data.download import RemoteFile
from ganseg.data.report import Report
from ganseg.data.source import Source
from ganseg.data.split import Split
from ganseg.files import UserError

SMALLEST = 16


@dataclass(frozen=True)
class DatasetSpec:
    """What is known of a data set before it is opened.

    `augment`: what training does unless told otherwise. `inspect`: looks at a folder without decoding it.
    `regression`: the split that landmark regression is fitted on. `normaliser`: what its error is divided by.
    """

    name: str
    title: str
    reader: Callable[[str, Path | None], Source]
    splits: tuple[str, ...]
    needs_dir: bool
    augment: str  # "none", "flip" or "crop_flip"
    how_to_get: str
    inspect: Callable[[Path], Report] | None = None
    regression: str = "train"
    normaliser: Literal["object", "inter-ocular", "edge", "taichi"] = "object"
    licence: str = ""
    homepage: str = ""
    files: tuple[RemoteFile, ...] = ()
    redistributable: bool = True  # whether figures with its photographs may be published
    parts: str = ""  # the numbers of parts in the paper's tables
    counts: Mapping[str, int] = field(default_factory=dict)  # images of each split, by the paper's protocol


def _synthetic(family: str, title: str, augment: str) -> DatasetSpec:
    reader = lambda split, data_dir: synthetic.open_family(family, split)
    splits = tuple(synthetic.SPLITS)
    nothing, counts = "Nothing to get: it is drawn by the package.", {n: len(s) for n, s in synthetic.SPLITS.items()}
    return DatasetSpec(family, title, reader, splits, False, augment, nothing, counts=counts)


_BIRD = _synthetic("synthetic-bird", "Synthetic birds", "none")

_CELEBA_LICENCE = "For non-commercial research only, as its authors' agreement says."
_CELEBA_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_LISTS = "list_eval_partition.txt, MAFL/training.txt and MAFL/testing.txt"

_SPECS = (
    _BIRD,
    _synthetic("synthetic-face", "Synthetic faces", "flip"),
    DatasetSpec(
        "celeba-wild", "CelebA in the wild", celeba.open_wild, celeba.SPLITS, True, "flip",
        "Put img_celeba/, list_landmarks_celeba.txt, list_bbox_celeba.txt, list_imsize_celeba.txt, "
        f"{_LISTS} into one folder; `ganseg data download celeba-wild` says where each is.",
        celeba.inspect_wild, "regression", "inter-ocular", _CELEBA_LICENCE, _CELEBA_PAGE,
        publishers.CELEBA_WILD, redistributable=False, parts="4, 8", counts=celeba.COUNTS,
    ),
    DatasetSpec(
        "celeba-aligned", "CelebA, aligned", celeba.open_aligned, celeba.SPLITS, True, "flip",
        f"Put img_align_celeba/, list_landmarks_align_celeba.txt, {_LISTS} into one folder; "
        "`ganseg data download celeba-aligned` says where each is.",
        celeba.inspect_aligned, "regression", "inter-ocular", _CELEBA_LICENCE, _CELEBA_PAGE,
        publishers.CELEBA_ALIGNED, redistributable=False, parts="10", counts=celeba.COUNTS_ALIGNED,
    ),
    DatasetSpec(
        "cub", "Caltech-UCSD Birds-200-2011", cub.open_cub, cub.SPLITS, True, "crop_flip",
        "Unpack CUB_200_2011.tgz and put segmentations/ of segmentations.tgz beside its images/; both are at "
        "www.vision.caltech.edu/datasets/cub_200_2011.",
        cub.inspect, "train", "edge", "For non-commercial research and education only.",
        "https://www.vision.caltech.edu/datasets/cub_200_2011", publishers.CUB, redistributable=False,
        parts="8", counts=cub_lists.EXPECTED,
    ),
    DatasetSpec(
        "flowers", "Oxford Flowers-102", flowers.open_flowers, tuple(flowers.SPLITS), True, "crop_flip",
        "Unpack 102flowers.tgz and 102segmentations.tgz and put setid.mat beside jpg/ and segmim/; "
        "all three are at www.robots.ox.ac.uk/~vgg/data/flowers/102.",
        flowers.inspect, files=publishers.FLOWERS,
        licence="None is stated; the photographs are from the web, collected for research.",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/flowers/102", parts="8",
        counts={"train": 6_149, "test": 1_020, "val": 1_020},
    ),
    DatasetSpec(
        "taichi", "Taichi", taichi.open_taichi, taichi.SPLITS, True, "flip",
        "Put the training frames, a folder a video, into taichi-256/train, and eval_images/, landmark/ and "
        "taichi-test-masks/ beside it; `ganseg data download taichi` says where each is.",
        taichi.inspect, "regression", "taichi",
        "Frames of YouTube videos; their rights are their owners'. For research.",
        "https://github.com/AliaksandrSiarohin/motion-cosegmentation", publishers.TAICHI, redistributable=False,
        parts="10", counts=taichi.EXPECTED,
    ),
    DatasetSpec(
        "folder", "A folder of images", folder.open_folder, ("train", "test"), True, "flip",
        "Any folder of at least 64 jpg, png, webp or bmp images, also in folders below; to be evaluated, "
        "with masks/NAME.png and keypoints.csv.",
        folder.inspect, normaliser="edge",
    ),
)  # fmt: skip

DATASETS: dict[str, DatasetSpec] = {"synthetic": _BIRD} | {spec.name: spec for spec in _SPECS}


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


def fingerprint(name: str, data_dir: str | Path | None = None) -> str:
    """Which images there are to learn from, without decoding any; "" where the folder they need is not given.

    UserError for an unknown name and a missing folder.
    """
    spec = describe(name)
    if spec.needs_dir and not data_dir:
        return ""
    if spec.name == "folder":
        return folder.content_key(_existing_dir(spec, data_dir))
    return _listed(spec.name, _existing_dir(spec, data_dir))


@functools.cache
def _listed(name: str, data_dir: Path | None) -> str:
    """Names, sizes and protocol of the training images; a published data set does not change while we look."""
    return DATASETS[name].reader("train", data_dir).fingerprint()


def describe(name: str) -> DatasetSpec:
    """The entry of a data set; UserError with the known names for an unknown one."""
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}.")
    return DATASETS[name]


def check(name: str, data_dir: str | Path | None) -> Report:
    """What a folder holds of the data set and what is wrong with it, in splits, labels and problems.

    UserError for an unknown name, a missing `data_dir`, or a data set that has no folder to look at.
    """
    spec = describe(name)
    if spec.inspect is None:
        raise UserError(f"there is nothing to check of the data set {spec.name}. {spec.how_to_get}")
    return spec.inspect(_existing_dir(spec, data_dir))


def _existing_dir(spec: DatasetSpec, data_dir: str | Path | None) -> Path | None:
    if not spec.needs_dir:
        return None
    if not data_dir:
        raise UserError(f"the data set {spec.name} needs its folder (data_dir). {spec.how_to_get}")
    path = Path(data_dir).expanduser()
    if not path.is_dir():
        raise UserError(f"{path} is {'not a folder' if path.exists() else 'missing'}. {spec.how_to_get}")
    return path
