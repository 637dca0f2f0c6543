"""Photographs to be segmented: found, named apart, decoded in threads ahead of the network, and put into batches."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ganseg.data.files import SUFFIXES, list_images, open_rgb
from ganseg.files import UserError

HELD = 48_000_000  # pixels of decoded images in a batch, about; limits memory


class Photograph(NamedTuple):
    """An image to be segmented."""

    path: Path
    file: str  # as it is called in parts.json: relative to the folder it was found in
    name: str  # of its results, without suffix and with its folders; no two are alike


class Decoded(NamedTuple):
    """A photograph that could be read."""

    photograph: Photograph
    image: Image.Image  # RGB, upright, at its own size
    small: np.ndarray  # (S, S, 3) uint8, what the network sees

    @property
    def pixels(self) -> int:
        """Of the image at its own size."""
        return self.image.width * self.image.height


def find_photographs(paths: str | Path | Iterable[str | Path], out: str | Path) -> list[Photograph]:
    """The files among `paths`, whatever their suffix, and images under its folders; UserError for none."""
    given = [Path(p).expanduser() for p in ([paths] if isinstance(paths, str | Path) else paths)]
    found: dict[Path, str] = {}
    for path in given:
        if path.is_dir():
            _refuse_inside(Path(out), path)
            prefix = f"{path.resolve().name}/" if len(given) > 1 else ""
            found |= {path / name: prefix + name for name in list_images(path) if path / name not in found}
        elif path.is_file():
            found.setdefault(path, path.name)
        else:
            raise UserError(f"{path} is not there; name images, or folders of images")
    if not found:
        where = ", ".join(map(str, given))
        raise UserError(f"no images in {where}; looked for {', '.join(SUFFIXES)}, also in folders below")
    if Path(out).expanduser().is_file():
        raise UserError(f"{out} is a file; the results need a folder")
    names = result_names(found.values())
    return [Photograph(path, file, name) for (path, file), name in zip(found.items(), names, strict=True)]


def result_names(files: Iterable[str]) -> list[str]:
    """Names of results: files without suffix; where those are alike, a.jpg and a.png become a_jpg and a_png.

    Names that differ only in the case of letters count as alike: on some systems they are.
    """
    paths = [Path(file) for file in files]
    stems = collections.Counter(path.with_suffix("").as_posix().casefold() for path in paths)
    names: dict[str, str] = {}  # casefolded -> as written
    for path in paths:
        name = path.with_suffix("").as_posix()
        if stems[name.casefold()] > 1:
            first = name = f"{name}_{path.suffix[1:]}"
            number = 1
            while name.casefold() in names or name.casefold() in stems:
                number += 1
                name = f"{first}-{number}"
        names[name.casefold()] = name
    return list(names.values())


def _refuse_inside(out: Path, folder: Path) -> None:
    inside, outer = out.expanduser().resolve(), folder.resolve()
    if inside == outer or outer in inside.parents:
        raise UserError(
            f"the results cannot go to {out}: it lies in {folder}, the folder to be segmented, and they "
            "would be taken for photographs the next time. Name a folder outside it."
        )


def decoded(
    photographs: Sequence[Photograph],
    size: int,
    pool: ThreadPoolExecutor,
    batch_size: int,
    skipped: list[tuple[str, str]],
) -> Iterator[Decoded]:
    """Decode in threads, about a batch ahead, in order; what cannot be read goes to `skipped`: (file, reason)."""
    waiting: collections.deque[tuple[Photograph, Future]] = collections.deque()
    rest, ahead = iter(photographs), 4
    while True:
        while len(waiting) < ahead and (photograph := next(rest, None)):
            waiting.append((photograph, pool.submit(_decode, photograph, size)))
        if not waiting:
            return
        photograph, future = waiting.popleft()
        try:
            one = future.result()
        except Exception as error:  # decoders fail in many ways; each means that this file is unreadable
            skipped.append((photograph.file, str(error) or type(error).__name__))
        else:
            ahead = max(2, min(batch_size, HELD // one.pixels))
            yield one


def _decode(photograph: Photograph, size: int) -> Decoded:
    image = open_rgb(photograph.path)
    return Decoded(photograph, image, np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)))


def batches(images: Iterable[Decoded], batch_size: int) -> Iterator[list[Decoded]]:
    """Groups of at most `batch_size` images and about HELD pixels."""
    batch: list[Decoded] = []
    for one in images:
        batch.append(one)
        if len(batch) == batch_size or sum(each.pixels for each in batch) >= HELD:
            yield batch
            batch = []
    if batch:
        yield batch
