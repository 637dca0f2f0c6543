"""A data set: what is known of it, what of it lies in a folder, what is to be decoded, and a split decoded."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ganseg.data.download import RemoteFile
from ganseg.data.files import IGNORE, digest, headers, read_mask, read_rgb, squash_points, told

GREY = ("1", "L", "LA", "I;16")  # Pillow's modes
SMALL, LONG = 32, 3  # pixels of a side; sides to one another
MISSING = -1  # coordinates of a keypoint that is not there
AGAIN = "Get them again."


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
    visible: np.ndarray | None = None  # (N, J) bool: inside the image and not occluded
    part_names: tuple[str, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    fingerprint: str = ""  # of names and identity, the same on every machine that has the same data
    skipped: tuple[tuple[str, str], ...] = ()  # (name, reason) of the unreadable images

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """S, the side of the images in pixels."""
        return self.images.shape[1]


@dataclass(frozen=True)
class Source:
    """One split before decoding.

    `read(positions, size)`: arrays as in `Split` of the images at `positions` (n,) but the unreadable ones, and why
    these are, by name; at most `spare` may be. `identity`: what the data are; `stamp`: what only this disk knows.
    """

    names: tuple[str, ...]
    identity: tuple
    read: Callable[[np.ndarray, int], tuple[dict[str, np.ndarray], dict[str, str]]]
    stamp: tuple = ()
    part_names: tuple[str, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    spare: int = 0

    @property
    def fingerprint(self) -> str:
        """As in `Split`."""
        return digest(self.names, self.identity)

    def limited(self, limit: int | None) -> Source:
        """`limit` of the images, evenly spaced over the split (all of them where there are no more)."""
        count = len(self.names)
        kept = min(limit or count, count)
        chosen = np.arange(kept) * count // kept
        read = lambda positions, size: self.read(chosen[positions], size)
        return replace(self, names=tuple(self.names[i] for i in chosen), read=read, spare=min(self.spare, kept - 1))


@dataclass(frozen=True)
class Sample:
    """One image and its labels, as files.

    `points`: (J, 3), x and y in pixels of an image of `extent` = (W, H), and 1 where visible; nan is not there.
    """

    name: str
    image: Path
    mask: Path | None = None
    points: np.ndarray | None = None
    extent: tuple[int, int] | None = None  # None: of the image itself


@dataclass
class Listing:
    """A data set as it lies in a folder: samples by split, `faults`, for which it is refused, and `oddities`.

    `read_mask(path, size)`: (S, S) uint8. `upright`: labels refer to the image as its EXIF data turn it, not to the
    stored pixels. `exact`: images must have their samples' extent. `spare`: how many unreadable images of a split
    may be left out.
    """

    splits: dict[str, list[Sample]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    keypoint_names: tuple[str, ...] = ()
    read_mask: Callable[[Path, int], np.ndarray] = read_mask
    upright: bool = False
    exact: bool = False
    spare: dict[str, int] = field(default_factory=dict)

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

    def missing(self, split: str) -> list[str]:
        """A fault, where files of a split are not there."""
        samples = self.splits[split]
        files = [path for sample in samples for path in (sample.image, sample.mask) if path]
        names = [path.name for path in files if not path.is_file()]
        remedy = "Unpack the archive again, or move all masks away to go without."
        return told(f"of {len(files):,} images and masks of the split {split} are missing", names, remedy)

    def look(self) -> None:
        """Look at all files, and into their headers; what is wrong with them joins the faults and oddities."""
        samples = self.samples
        found = {s.name: h for s, h in zip(samples, headers([s.image for s in samples], self.upright), strict=True)}
        for split, listed in self.splits.items():
            self.faults += self.missing(split)
            names = [s.name for s in listed if not found[s.name] and s.image.exists()]
            broken = told(f"images of the split {split} cannot be read", names, AGAIN)
            (self.faults if len(names) > self.spare.get(split, 0) else self.oddities).extend(broken)
        masks = [s.mask for s in samples if s.mask and s.mask.exists()]
        broken = [mask.name for mask, header in zip(masks, headers(masks), strict=True) if not header]
        self.faults += told("masks cannot be read", broken, AGAIN)
        known = [(s, *found[s.name]) for s in samples if found[s.name]]
        other = [s.name for s, _, size in known if self.exact and s.extent != size]
        self.faults += told("images have another size than their lists say", other, AGAIN)
        grey = [s.name for s, mode, _ in known if mode in GREY]
        self.oddities += told("images are grey", grey, "They are converted to RGB.")
        small = [s.name for s, _, size in known if min(size) < SMALL]
        self.oddities += told(f"images have a side below {SMALL} pixels", small, "They are enlarged.")
        long = [s.name for s, _, size in known if max(size) > LONG * min(size)]
        squashed = "Images are squashed to a square, which distorts these much; crop them."
        self.oddities += told(f"images are more than {LONG} times as long as wide", long, squashed)
        out = [s.name for s, _, size in known if s.points is not None and outside(s.points, s.extent or size).any()]
        self.oddities += told("images have a visible keypoint outside them", out, "It counts as published.")

    def source(self, split: str) -> Source:
        """One of the splits, to be decoded."""
        samples = self.splits[split]
        masked = any(sample.mask for sample in samples)
        pointed = any(sample.points is not None for sample in samples)

        def read(positions: np.ndarray, size: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
            chosen = [samples[i] for i in positions]
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow frees the GIL
                jobs = [(one.name, pool.submit(self.decode, one, size, masked, pointed)) for one in chosen]
            good = [job.result() for _, job in jobs if not job.exception()]
            broken = {name: str(e) or type(e).__name__ for name, job in jobs if (e := job.exception())}
            return {name: np.stack([one[name] for one in good]) for name in (good[0] if good else ())}, broken

        stats = [path.stat() for sample in samples for path in (sample.image, sample.mask) if path]
        points = [None if sample.points is None else sample.points.tolist() for sample in samples]
        return Source(
            names=tuple(sample.name for sample in samples),
            identity=([s.st_size for s in stats], [bool(sample.mask) for sample in samples], digest(points)),
            read=read,
            stamp=tuple(s.st_mtime_ns for s in stats),
            keypoint_names=self.keypoint_names if pointed else (),
            spare=self.spare.get(split, 0),
        )

    def decode(self, sample: Sample, size: int, masked: bool, pointed: bool) -> dict[str, np.ndarray]:
        """The arrays of one sample, as in `Split`; an exception of any type where its files are broken."""
        arrays = {"images": read_rgb(sample.image, size, self.upright)}
        ((_, stored),) = headers([sample.image], self.upright)
        extent = sample.extent or stored
        if self.exact and extent != stored:
            raise ValueError("it is {} x {} pixels, its labels are for {} x {}".format(*stored, *extent))
        if masked:
            ignored = np.full((size, size), IGNORE, np.uint8)
            arrays["foreground"] = self.read_mask(sample.mask, size) if sample.mask else ignored
        if pointed:
            rows = np.full((len(self.keypoint_names), 3), np.nan) if sample.points is None else sample.points
            squashed = squash_points(rows[:, :2], extent, size)
            arrays |= {"keypoints": np.nan_to_num(squashed, nan=MISSING), "visible": rows[:, 2] > 0}
        return arrays


def outside(points: np.ndarray, extent: tuple[int, int]) -> np.ndarray:
    """(J,) bool: which of `points` (J, 3) are visible, and yet outside an image of `extent` = (W, H)."""
    beyond = (points[:, :2] < -0.5) | (points[:, :2] >= np.array(extent) - 0.5)
    return beyond.any(axis=1) & (points[:, 2] > 0)


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set before it is opened.

    It is drawn (`draw(split)`), or listed in its folder (`list(data_dir)`), which must hold what `needs` says.
    `counts`: the images of each split, by the paper's protocol; `parts`: the K of its tables. `augment`: what training
    does unless told otherwise. `regression`: the split that landmark regression is fitted on; `normaliser`: what its
    error is divided by.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    augment: Literal["none", "flip", "crop_flip"]
    draw: Callable[[str], Source] | None = None
    list: Callable[[Path], Listing] | None = None
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
    def needs_dir(self) -> bool:
        """Whether its images lie in a folder of the user."""
        return self.draw is None

    @property
    def how_to_get(self) -> str:
        """What a person has to do to have it."""
        names = ", ".join(file.makes or file.name for file in self.files)
        way = f"Put {names} into one folder; `ganseg data download {self.name}` fetches them or says where they are."
        return "Nothing to get: it is drawn by the package." if self.draw else self.needs or way
