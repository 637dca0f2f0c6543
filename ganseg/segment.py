"""Part masks of anyone's photographs, written as label maps, overlays and `parts.json`; and generated images."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ganseg.data.files import SUFFIXES, list_images, open_rgb
from ganseg.devices import make_fabric, place
from ganseg.evaluation import predict
from ganseg.experiments import Run
from ganseg.files import UserError, write_json
from ganseg.metrics import SPECK, part_centres
from ganseg.pictures import colour_labels, overlay, part_colours, save, to_pictures
from ganseg.provenance import cores

OVERLAYS = ("jpg", "png", "none")
PARTS = "parts.json"
ABOUT = {
    "centre": "(x, y) in pixels of the upright image, x right, y down, pixel centres at integers, or null",
    "area": "fraction of the image", "visible": f"whether the part covers at least {SPECK:.1%} of the image",
}  # fmt: skip


class Photograph(NamedTuple):
    """An image to be segmented: where it is, `file` as parts.json calls it, and the `name` of its results."""

    path: Path
    file: str
    name: str


@dataclass
class Segmented:
    """What `segment_images` did: `images` as in parts.json, `skipped` as (file, reason)."""

    out: Path
    images: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def segment_images(
    run: Run, paths: str | Path | Iterable[str | Path], out: str | Path, *, device: str = "auto",
    batch_size: int = 8, overlays: str = "jpg", progress: Callable[[int, int], None] | None = None,
) -> Segmented:  # fmt: skip
    """Segment image files, and all images under folders, with the segmentation network of `run`.

    Writes under `out`, keeping folders and stems: masks/NAME.png (indexed: 0 background, k part k, in the parts'
    colours), overlays/NAME.jpg (or png, or none), parts.json; at the size of the image and upright as viewers show it.
    Unreadable files are skipped and listed. `batch_size` images are in memory at a time; `progress(done, of)` is
    called after each batch. UserError for no images, or `out` among them.
    """
    if overlays not in OVERLAYS:
        raise UserError(f"overlays cannot be {overlays!r}; they are {', '.join(OVERLAYS)}")
    photographs, done = find_photographs(paths, out), Segmented(Path(out).expanduser())
    fabric, size = make_fabric(device), run.config.data.size
    segmenter = place(run.segmenter(), fabric)
    write = functools.partial(_write, out=done.out, overlays=overlays)
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(photographs), batch_size):
            batch = photographs[start : start + batch_size]
            read = dict(zip(batch, pool.map(_read, batch), strict=True))
            done.skipped += [(one.file, read.pop(one)) for one in batch if isinstance(read[one], str)]
            if read:
                small = [np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for image in read.values()]
                maps = predict(segmenter, np.stack(small), fabric).numpy()
                done.images += pool.map(write, read, read.values(), maps)
            if progress:
                progress(start + len(batch), len(photographs))
    if not done.images:
        first = ": ".join(done.skipped[0])
        raise UserError(f"none of the {len(photographs)} images can be read; the first: {first}")
    colours = part_colours(run.config.generator.parts)
    write_json(done.out / PARTS, {
        "about": ABOUT, "run": run.directory.resolve().name, "parts": len(colours) - 1, "network_size": size,
        "colours": {k: "#" + bytes(colour).hex() for k, colour in enumerate(colours)},
        "skipped": [{"file": file, "reason": reason} for file, reason in sorted(done.skipped)],
        "images": sorted(done.images, key=lambda image: image["file"]),
    })  # fmt: skip
    return done


def find_photographs(paths: str | Path | Iterable[str | Path], out: str | Path) -> list[Photograph]:
    """The files among `paths`, whatever their suffix, and images under its folders; UserError for none."""
    given = [Path(p).expanduser() for p in ([paths] if isinstance(paths, str | Path) else paths)]
    found: dict[Path, str] = {}
    for path in given:
        if path.is_dir() and Path(out).expanduser().resolve().is_relative_to(path.resolve()):
            taken = "where the results would be taken for photographs the next time"
            raise UserError(f"{out} lies in {path}, the folder to be segmented, {taken}. Name a folder outside.")
        if not path.is_dir() and not path.is_file():
            raise UserError(f"{path} is not there; name images, or folders of images")
        prefix = f"{path.resolve().name}/" if path.is_dir() and len(given) > 1 else ""
        folder, names = (path, list_images(path)) if path.is_dir() else (path.parent, [path.name])
        for name in names:
            found.setdefault(folder / name, prefix + name)
    if not found:
        where = ", ".join(map(str, given))
        raise UserError(f"no images in {where}; looked for {', '.join(SUFFIXES)}, also in folders below")
    return [Photograph(*one) for one in zip(found, found.values(), result_names(found.values()), strict=True)]


def result_names(files: Iterable[str]) -> list[str]:
    """Names of results: files without suffix; where those are alike, in any case of letters, a_jpg and a_png."""
    stems = [Path(file).with_suffix("").as_posix() for file in files]
    alike, names = Counter(stem.casefold() for stem in stems), {}  # casefolded -> as written
    for file, stem in zip(files, stems, strict=True):
        name = stem if alike[stem.casefold()] == 1 else f"{stem}_{Path(file).suffix[1:]}"
        while name.casefold() in names:
            name += "_"
        names[name.casefold()] = name
    return list(names.values())


def _read(photograph: Photograph) -> Image.Image | str:
    """The image, RGB and upright, or why it cannot be read."""
    try:
        return open_rgb(photograph.path)
    except Exception as error:  # decoders fail in many ways; each means that this file is unreadable
        return str(error) or type(error).__name__


def _write(one: Photograph, image: Image.Image, probabilities: np.ndarray, out: Path, overlays: str) -> dict[str, Any]:
    """Write the mask and the overlay of an image; returns its entry in parts.json."""
    labels = full_size_labels(probabilities, image.size)
    entry = {"file": one.file, "width": image.width, "height": image.height, "mask": f"masks/{one.name}.png",
             "parts": measure_parts(probabilities, labels)}  # fmt: skip
    mask = Image.fromarray(labels)
    mask.putpalette(colour_labels(np.arange(256)).tobytes())
    save(mask, out / entry["mask"], compress_level=1)  # thrice as fast for a few kB more
    if overlays != "none":
        entry["overlay"] = f"overlays/{one.name}.{overlays}"
        drawn = overlay(np.asarray(image), labels, contour=max(1, round(max(labels.shape) / 300)))
        save(Image.fromarray(drawn), out / entry["overlay"], quality=90)
    return entry


def full_size_labels(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Most likely labels, uint8 (height, width), of probabilities (K + 1, S, S) resized bilinearly to `size`.

    `size` is (width, height). Map by map, so that a large photograph needs little memory.
    """
    labels, best = np.zeros(size[::-1], np.uint8), np.full(size[::-1], -np.inf, np.float32)
    for k, each in enumerate(torch.from_numpy(probabilities)):
        large = F.interpolate(each[None, None], size[::-1], mode="bilinear", align_corners=False)[0, 0].numpy()
        np.copyto(labels, np.uint8(k), where=large > best)
        np.maximum(best, large, out=best)
    return labels


def measure_parts(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Centre (x, y) in pixels of `labels` (height, width), area and visibility of each part, as `ABOUT` says.

    The centre is that of the part's soft mask in `probabilities` (K + 1, S, S), as in section 4.1.
    """
    scale = np.array(labels.shape[::-1]) / probabilities.shape[-1]
    centres = (part_centres(probabilities[None, 1:])[0] + 0.5) * scale - 0.5  # (K, 2)
    areas = np.bincount(labels.ravel(), minlength=len(probabilities))[1:] / labels.size  # (K,)
    return [{"part": k, "centre": [round(v, 2) for v in centre] if area >= SPECK else None,
             "area": round(area, 6), "visible": area >= SPECK}
            for k, (centre, area) in enumerate(zip(centres.tolist(), areas.tolist(), strict=True), 1)]  # fmt: skip


@torch.no_grad()
def generate(run: Run, count: int, seed: int = 0, device: str = "auto") -> tuple[np.ndarray, np.ndarray]:
    """Generated images (N, S, S, 3) and their labels (N, S, S), uint8; the same for one seed and device."""
    fabric, chunks = make_fabric(device), []
    generator, random = place(run.generator(), fabric), torch.Generator(fabric.device).manual_seed(seed)
    for start in range(0, count, 64):
        with fabric.autocast():
            images, labels = generator.pairs(generator.noise(min(64, count - start), random))
        chunks.append((to_pictures(images), labels.byte().cpu().numpy()))  # (B, S, S, 3), (B, S, S)
    return tuple(map(np.concatenate, zip(*chunks, strict=True)))
