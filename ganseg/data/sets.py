"""A data set: what is known of it, what of it lies in a folder, what is to be decoded, and a split decoded."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np

from ganseg.data.files import contents, digest, each, refuse, told
from ganseg.data.images import IGNORE, extent_of, open_rgb, read_mask, squash
from ganseg.files import UserError
from ganseg.progress import follow

MISSING = -1  # coordinates of a keypoint that is not there


@dataclass(frozen=True)
class Split:
    """N images of S x S pixels and the labels there are; arrays are read-only and memory-mapped.

    Keypoints are (x, y) in pixels, x right and y down, pixel centres at integers; some lie outside the image.
    """

    images: np.ndarray  # (N, S, S, 3) uint8, RGB
    names: tuple[str, ...]
    foreground: np.ndarray | None = None  # (N, S, S) uint8: 0 background, 1 foreground, 255 ignore
    parts: np.ndarray | None = None  # (N, S, S) uint8: 0 background, 1..P the parts in the order of part_names
    keypoints: np.ndarray | None = None  # (N, J, 2) float32
    visible: np.ndarray | None = None  # (N, J) bool: not occluded, and inside the image unless its publisher says so
    boxes: np.ndarray | None = None  # (N, 4) float32: left, top, right and bottom edge of the object in pixels from 0
    part_names: tuple[str, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()  # "name: reason" of the unreadable images
    oddities: tuple[str, ...] = ()  # sentences on what was left out of it, or is used but may surprise

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """S, the side of the images in pixels."""
        return self.images.shape[1]


@dataclass(frozen=True)
class Sample:
    """One image and its labels: files, or a name that says what is to be drawn.

    `points`: (J, 3), x and y in pixels, and 1 where visible; nan is not there. `extent`: the (W, H) that the image must
    have. `box`: left, top, width and height in pixels, of all images or none.
    """

    name: str
    image: Path | None = None
    mask: Path | None = None
    points: np.ndarray | None = None
    extent: tuple[int, int] | None = None
    box: tuple[float, ...] | None = None

    @property
    def files(self) -> list[Path]:
        """Of the image and its mask."""
        return [path for path in (self.image, self.mask) if path]


@dataclass
class Listing:
    """A data set before it is decoded: samples by split, `faults`, for which it is refused, and `oddities`.

    `read_mask(path, size)`: (S, S) uint8. `upright`: labels refer to the image as its EXIF data turn it, not to the
    stored pixels. `spare`: how many unreadable images of a split may be left out. `masked`, `pointed`: whether images
    of the one split that is chosen have masks and points. `draw(names, size)`: for each name its arrays, as in `Split`,
    where there are no files; `drawing` then is what the data are.
    """

    splits: dict[str, list[Sample]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    part_names: tuple[str, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    read_mask: Callable[[Path, int], np.ndarray] = read_mask
    upright: bool = False
    spare: dict[str, int] = field(default_factory=dict)
    masked: bool = False
    pointed: bool = False
    draw: Callable[[list[str], int], Iterable[dict[str, np.ndarray]]] | None = None
    drawing: tuple = ()

    @property
    def samples(self) -> list[Sample]:
        """The samples of all splits, each once."""
        return list({sample.name: sample for samples in self.splits.values() for sample in samples}.values())

    @property
    def counts(self) -> dict[str, int]:
        """Images by split."""
        return {split: len(samples) for split, samples in self.splits.items()}

    @property
    def labels(self) -> dict[str, int]:
        """How many images have a mask and visible keypoints, and how many of these there are."""
        visible = [int(np.sum(sample.points[:, 2] > 0)) for sample in self.samples if sample.points is not None]
        masks = sum(sample.mask is not None for sample in self.samples)
        return {"foreground masks": masks, "keypoints": sum(map(bool, visible)), "visible keypoints": sum(visible)}

    def limited(self, split: str, limit: int | None = None) -> Self:
        """One split alone, and of it at most `limit` images, evenly spaced; UserError where files are missing."""
        whole = self.splits[split]
        kept = min(limit or len(whole), len(whole))
        samples = [whole[i * len(whole) // kept] for i in range(kept)]
        files = [path for sample in samples for path in sample.files]
        what = f"of {len(files):,} images and masks of the split {split} are missing"
        remedy = "Unpack the archive again, or move all masks away to go without."
        refuse(what, [path.name for path in files if not path.is_file()], remedy)
        labels = {"masked": any(one.mask for one in whole), "pointed": any(one.points is not None for one in whole)}
        spare = {split: min(self.spare.get(split, 0), kept - 1)}
        return replace(self, splits={split: samples}, spare=spare, **labels)

    def identity(self, memory: Path) -> tuple:
        """What the images and labels are, by the `contents` of their files, which `memory` remembers."""
        samples = [sample for samples in self.splits.values() for sample in samples]
        names = [sample.name for sample in samples]
        if self.drawing:
            return names, self.drawing
        points = [None if sample.points is None else sample.points.tolist() for sample in samples]
        held = contents([path for sample in samples for path in sample.files], memory)
        return names, (held, [bool(sample.mask) for sample in samples], digest(points)), self.keypoint_names

    def decode(self, size: int, label: str) -> Split:
        """Its images in memory, without those that cannot be read; UserError where these are too many."""
        samples, names, arrays, unclear, lost = self.samples, [], {}, [], []
        read = self.draw([one.name for one in samples], size) if self.draw else each(partial(self._open, size), samples)
        bar = {"desc": f"decoding {label}", "unit": " images", "delay": 5.0, "mininterval": 0.5, "leave": False}
        for sample, made in zip(samples, follow(read, total=len(samples), **bar), strict=True):
            if isinstance(made, Exception):
                wrong = unclear if isinstance(made, UserError) else lost
                wrong.append(f"{sample.name}: {str(made) or type(made).__name__}")
                continue
            arrays = arrays or {key: np.empty((len(samples), *one.shape), one.dtype) for key, one in made.items()}
            for key, value in made.items():
                arrays[key][len(names)] = value
            names.append(sample.name)
        what = "masks are not understood or have another shape than their image"
        refuse(what, unclear, "Make them black and white, white being foreground, of the upright image.")
        if len(lost) > (spare := sum(self.spare.values())):
            remedy = f"Get them again; {spare} of {len(samples)} can be left out."
            refuse(f"images of {label} or their masks cannot be read", lost, remedy)
        arrays = {key: array[: len(names)] for key, array in arrays.items()}
        odd = told("unreadable images are left out", lost, "Mend or remove them.")
        if "foreground" in arrays and not self.draw:
            known, front = arrays["foreground"] != IGNORE, arrays["foreground"] == 1
            count, share = known.any(axis=(1, 2)).sum(), front.sum() / max(1, known.sum())
            odd.append(f"{count:,} of {len(names):,} images have a mask; {share:.1%} of their pixels are foreground.")
        points = self.keypoint_names if "keypoints" in arrays else ()
        about = {"names": tuple(names), "skipped": tuple(lost), "oddities": tuple(odd)}
        return Split(**arrays, **about, part_names=self.part_names, keypoint_names=points)

    def _open(self, size: int, sample: Sample) -> dict[str, np.ndarray]:
        """The arrays of one sample, as in `Split`; an exception of any type where its files are broken."""
        extent = extent_of(sample.image, self.upright)
        if sample.extent not in (None, extent):
            raise ValueError("it is {} x {} pixels, its labels are for {} x {}".format(*extent, *sample.extent))
        shape = extent_of(sample.mask, upright=True) if self.upright and sample.mask else extent
        if abs(shape[0] * extent[1] - shape[1] * extent[0]) > max(*shape, *extent):
            raise UserError("image {} x {}, mask {} x {} pixels".format(*extent, *shape))
        scale = size / np.array(extent)
        arrays = {"images": squash(open_rgb(sample.image, 4 * size, self.upright), size)}
        if self.masked:
            ignored = np.full((size, size), IGNORE, np.uint8)
            arrays["foreground"] = self.read_mask(sample.mask, size) if sample.mask else ignored
        if self.pointed:
            rows = np.full((len(self.keypoint_names), 3), np.nan) if sample.points is None else sample.points
            places = (rows[:, :2] + 0.5) * scale - 0.5  # pixel centres are at integers from 0
            arrays["keypoints"] = np.nan_to_num(places.astype(np.float32), nan=MISSING)
            arrays["visible"] = rows[:, 2] > 0
        if sample.box:
            left, top, width, height = sample.box
            arrays["boxes"] = np.float32([(left, top) * scale, (left + width, top + height) * scale]).ravel()
        return arrays


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set, and where it comes from.

    `name`: its path in the folder of the data set. `url`: empty where only a person can get it, as `how` says; where it
    is not, `bytes` are known. `makes`: for an archive, a file or folder that is there when it is unpacked. `optional`:
    the reader does without it.
    """

    name: str
    url: str = ""
    bytes: int = 0
    md5: str | None = None
    makes: str = ""
    how: str = ""
    optional: bool = False


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set before it is opened.

    `list(data_dir)`: what its folder holds, which is what `needs` says; without `needs_dir`, `list()`: what is drawn.
    `counts`: the images of each split, by the paper's protocol; `parts`: the K of its tables. `augment`: what training
    does unless told otherwise. `regression`: the split that landmark regression is fitted on; `normaliser`: what its
    error is divided by.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    augment: Literal["none", "flip", "crop_flip"]
    list: Callable[..., Listing]
    needs_dir: bool = True
    needs: str = ""
    counts: dict[str, int] = field(default_factory=dict, hash=False)
    parts: tuple[int, ...] = ()
    regression: str = "train"
    normaliser: Literal["object", "inter-ocular", "edge", "taichi"] = "object"
    licence: str = ""
    homepage: str = ""
    files: tuple[RemoteFile, ...] = ()
    redistributable: bool = True  # whether figures with its photographs may be published

    @property
    def how_to_get(self) -> str:
        """What a person has to do to have it."""
        names = ", ".join(file.makes or file.name for file in self.files)
        way = f"Put {names} into one folder; `ganseg data download {self.name}` fetches them or says where they are."
        return self.needs or way if self.needs_dir else "Nothing to get: it is drawn by the package."
