"""Part masks of anyone's photographs: label maps, overlays, and where each part is and how large."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from ganseg.data.decode import open_rgb
from ganseg.data.folder import SUFFIXES, list_images
from ganseg.errors import UserError
from ganseg.files import atomic_path
from ganseg.metrics import SPECK, part_centres
from ganseg.pictures import colour_labels, overlay, part_colours, save
from ganseg.provenance import cores

if TYPE_CHECKING:
    from ganseg.experiments import Run

OVERLAYS = ("jpg", "png", "none")
HELD = 48_000_000  # pixels of decoded images in a batch, about; limits memory
STRIP = 64  # rows of a mask made at a time
PARTS = "parts.json"
ABOUT = {
    "centre": "(x, y) in pixels of the upright image, x right, y down, pixel centres at integers, or null",
    "area": "fraction of the image", "visible": f"whether the part covers at least {SPECK:.1%} of the image",
}  # fmt: skip


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


@dataclass
class Segmented:
    """What `segment_images` did: `images` as in parts.json, `skipped` as (file, reason)."""

    out: Path
    images: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def segment_images(
    run: Run, paths: str | Path | Iterable[str | Path], out: str | Path, *, device: str = "auto",
    batch_size: int = 32, overlays: str = "jpg", workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Segmented:  # fmt: skip
    """Segment image files, and all images under folders, with the segmentation network of `run`.

    An image of any size is squashed to the network's; the probabilities are resized back bilinearly before
    the most likely part of each pixel is taken. Writes under `out`, keeping folders and stems: masks/NAME.png
    (indexed: 0 background, k part k, in the parts' colours), overlays/NAME.jpg (or png, or none), parts.json.
    Masks fit the image as viewers show it, turned as its EXIF data say. Unreadable files are skipped and
    listed. `workers`: threads that read and write (by default as many as there are cores). `progress(done, of)` is
    called after each batch. UserError for no images, or `out` among them.
    """
    from ganseg.devices import make_fabric
    from ganseg.evaluation import predict

    photographs = find_photographs(paths, out)
    if overlays not in OVERLAYS:
        raise UserError(f"overlays cannot be {overlays!r}; they are {', '.join(OVERLAYS)}")
    fabric = make_fabric(device)
    segmenter, done = run.segmenter().to(fabric.device), Segmented(Path(out).expanduser())
    pool, writing = ThreadPoolExecutor(workers or cores()), []
    decoded = _decoded(photographs, run.config.data.size, pool, batch_size, done)
    try:
        for batch in _batches(decoded, batch_size):
            probabilities = predict(segmenter, np.stack([one.small for one in batch]), fabric).numpy()
            done.images += [future.result() for future in writing]  # the batch before: two are in memory
            writing = [
                pool.submit(_write, *pair, done.out, overlays) for pair in zip(batch, probabilities, strict=True)
            ]
            if progress:
                progress(len(done.images) + len(writing) + len(done.skipped), len(photographs))
        done.images += [future.result() for future in writing]
    finally:
        pool.shutdown(cancel_futures=True)
    if not done.images:
        first = ": ".join(done.skipped[0])
        raise UserError(f"none of the {len(photographs)} images can be read; the first: {first}")
    write_parts(done.out / PARTS, describe(run, done))
    return done


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


def full_size_labels(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Most likely labels, uint8 (height, width), of probabilities (K + 1, S, S) resized bilinearly to `size`.

    `size` is (width, height). A strip of rows at a time, so that a large photograph needs little memory.
    """
    import torch

    from ganseg.resampling import bilinear_matrix

    (width, height), lines = size, probabilities.shape[1]
    maps = torch.from_numpy(np.ascontiguousarray(probabilities, np.float32))  # (K + 1, S, S)
    across = (maps @ bilinear_matrix(maps.shape[2], width).T).numpy()  # (K + 1, S, width)
    rows = ((np.arange(height) + 0.5) * (lines / height) - 0.5).clip(0, lines - 1)
    strips = [_most_likely(across, rows[start : start + STRIP]) for start in range(0, height, STRIP)]
    return np.concatenate(strips)


def _most_likely(maps: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Labels (R, W) of maps (K + 1, S, W) interpolated at `rows` (R,), map by map: a strip stays in the cache."""
    above = rows.astype(int)
    below, weight = np.minimum(above + 1, maps.shape[1] - 1), (rows - above).astype(np.float32)[:, None]
    labels, best = np.zeros((len(rows), maps.shape[2]), np.uint8), None
    for k, each in enumerate(maps):
        upper, values = each[above], each[below]
        values -= upper
        values *= weight
        values += upper
        if best is None:
            best = values
        else:
            np.copyto(labels, np.uint8(k), where=values > best)
            np.maximum(best, values, out=best)
    return labels


def measure_parts(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Centre (x, y) in pixels of `labels` (height, width), area and visibility of each part, as `ABOUT` says.

    The centre is that of the part's soft mask in `probabilities` (K + 1, S, S), as in section 4.1.
    """
    scale = np.array(labels.shape[::-1]) / probabilities.shape[-1]
    centres = (part_centres(probabilities[None, 1:])[0] + 0.5) * scale - 0.5  # (K, 2)
    areas = np.bincount(labels.ravel(), minlength=len(probabilities))[1:] / labels.size  # (K,)
    parts = []
    for k, (centre, area) in enumerate(zip(centres.tolist(), areas.tolist(), strict=True), start=1):
        visible = area >= SPECK
        place = [round(v, 2) for v in centre] if visible else None
        parts.append({"part": k, "centre": place, "area": round(area, 6), "visible": visible})
    return parts


def describe(run: Run, done: Segmented) -> dict[str, Any]:
    """The content of parts.json."""
    colours = ["#" + bytes(colour).hex() for colour in part_colours(run.config.generator.parts)]
    return {
        "about": ABOUT, "run": run.directory.resolve().name, "parts": run.config.generator.parts,
        "network_size": run.config.data.size, "colours": {str(k): colour for k, colour in enumerate(colours)},
        "images": sorted(done.images, key=lambda image: image["file"]),
        "skipped": [{"file": file, "reason": reason} for file, reason in sorted(done.skipped)],
    }  # fmt: skip


def write_parts(path: Path, told: dict[str, Any]) -> None:
    """Write parts.json, whole or not at all, with an image a line."""
    head = json.dumps({key: value for key, value in told.items() if key != "images"}, indent=2)
    lines = ",\n    ".join(json.dumps(image) for image in told["images"])
    with atomic_path(path) as temporary:
        temporary.write_text(f'{head[:-2]},\n  "images": [\n    {lines}\n  ]\n}}\n')


def indexed(labels: np.ndarray) -> Image.Image:
    """A picture in mode "P": its values are the labels (H, W), its palette the colours of the parts."""
    image = Image.fromarray(np.asarray(labels, np.uint8))
    image.putpalette(colour_labels(np.arange(256)).tobytes())
    return image


def generate(run: Run, count: int, seed: int = 0, device: str = "auto") -> tuple[np.ndarray, np.ndarray]:
    """Generated images (N, S, S, 3) and their labels (N, S, S), uint8; the same for one seed and device."""
    import torch

    from ganseg.devices import make_fabric
    from ganseg.pictures import to_pictures

    fabric = make_fabric(device)
    generator = run.generator().to(fabric.device)
    random = torch.Generator(fabric.device).manual_seed(seed)
    chunks = []
    with torch.no_grad(), fabric.autocast():
        for start in range(0, count, 64):
            images, labels = generator.pairs(generator.noise(min(64, count - start), random))
            chunks.append((to_pictures(images), labels.byte().cpu().numpy()))  # (B, S, S, 3), (B, S, S)
    return np.concatenate([c[0] for c in chunks]), np.concatenate([c[1] for c in chunks])


def _decoded(photographs: Sequence[Photograph], size: int, pool: ThreadPoolExecutor, batch_size: int,
             done: Segmented) -> Iterator[Decoded]:  # fmt: skip
    """Decode in threads, about a batch ahead, in order; what cannot be read goes to `done.skipped`."""
    waiting: collections.deque[tuple[Photograph, Future]] = collections.deque()
    rest, ahead = iter(photographs), 4
    while True:
        while len(waiting) < ahead and (photograph := next(rest, None)):
            waiting.append((photograph, pool.submit(_decode, photograph, size)))
        if not waiting:
            return
        photograph, future = waiting.popleft()
        try:
            decoded = future.result()
        except Exception as error:  # decoders fail in many ways; each means that this file is unreadable
            done.skipped.append((photograph.file, str(error) or type(error).__name__))
        else:
            ahead = max(2, min(batch_size, HELD // decoded.pixels))
            yield decoded


def _decode(photograph: Photograph, size: int) -> Decoded:
    image = open_rgb(photograph.path)
    return Decoded(photograph, image, np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)))


def _batches(decoded: Iterable[Decoded], batch_size: int) -> Iterator[list[Decoded]]:
    """Groups of at most `batch_size` images and about HELD pixels."""
    batch: list[Decoded] = []
    for one in decoded:
        batch.append(one)
        if len(batch) == batch_size or sum(each.pixels for each in batch) >= HELD:
            yield batch
            batch = []
    if batch:
        yield batch


def _write(one: Decoded, probabilities: np.ndarray, out: Path, overlays: str) -> dict[str, Any]:
    """Write the mask and the overlay of an image; returns its entry in parts.json."""
    name, labels = one.photograph.name, full_size_labels(probabilities, one.image.size)
    entry = {"file": one.photograph.file, "width": one.image.width, "height": one.image.height,
             "mask": f"masks/{name}.png", "parts": measure_parts(probabilities, labels)}  # fmt: skip
    save(indexed(labels), out / entry["mask"], compress_level=1)  # thrice as fast for a few kB more
    if overlays != "none":
        entry["overlay"] = f"overlays/{name}.{overlays}"
        drawn = overlay(np.asarray(one.image), labels, contour=max(1, round(max(labels.shape) / 300)))
        save(Image.fromarray(drawn), out / entry["overlay"], **({"quality": 90} if overlays == "jpg" else {}))
    return entry


def _refuse_inside(out: Path, folder: Path) -> None:
    inside, outer = out.expanduser().resolve(), folder.resolve()
    if inside == outer or outer in inside.parents:
        raise UserError(
            f"the results cannot go to {out}: it lies in {folder}, the folder to be segmented, and they "
            "would be taken for photographs the next time. Name a folder outside it."
        )
