"""Part masks of anyone's photographs, written as label maps, overlays and `parts.json`; and generated images."""

from __future__ import annotations

import json
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
from ganseg.files import UserError, atomic_path
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
    """An image to be segmented."""

    path: Path
    file: str  # as it is called in parts.json: relative to the folder it was found in
    name: str  # of its results, without suffix and with its folders; no two are alike


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

    An image of any size is squashed to the network's; the probabilities are resized back bilinearly before the most
    likely part of each pixel is taken. Writes under `out`, keeping folders and stems: masks/NAME.png (indexed: 0
    background, k part k, in the parts' colours), overlays/NAME.jpg (or png, or none), parts.json. Masks fit the image
    as viewers show it, turned as its EXIF data say. Unreadable files are skipped and listed. `batch_size` images are
    in memory at a time; `progress(done, of)` is called after each batch. UserError for no images, or `out` among them.
    """
    photographs, done = find_photographs(paths, out), Segmented(Path(out).expanduser())
    if overlays not in OVERLAYS:
        raise UserError(f"overlays cannot be {overlays!r}; they are {', '.join(OVERLAYS)}")
    fabric, size = make_fabric(device), run.config.data.size
    segmenter = place(run.segmenter(), fabric)
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(photographs), batch_size):
            batch = photographs[start : start + batch_size]
            images = list(pool.map(_read, batch))
            done.skipped += [(p.file, why) for p, why in zip(batch, images, strict=True) if isinstance(why, str)]
            read = [pair for pair in zip(batch, images, strict=True) if not isinstance(pair[1], str)]
            if read:
                small = [np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for _, image in read]
                probabilities = predict(segmenter, np.stack(small), fabric).numpy()
                write = lambda pair, maps: _write(*pair, maps, done.out, overlays)
                done.images += pool.map(write, read, probabilities)
            if progress:
                progress(start + len(batch), len(photographs))
    if not done.images:
        first = ": ".join(done.skipped[0])
        raise UserError(f"none of the {len(photographs)} images can be read; the first: {first}")
    _write_parts(run, done)
    return done


def find_photographs(paths: str | Path | Iterable[str | Path], out: str | Path) -> list[Photograph]:
    """The files among `paths`, whatever their suffix, and images under its folders; UserError for none."""
    given = [Path(p).expanduser() for p in ([paths] if isinstance(paths, str | Path) else paths)]
    found: dict[Path, str] = {}
    for path in given:
        if path.is_dir():
            if Path(out).expanduser().resolve().is_relative_to(path.resolve()):
                raise UserError(
                    f"the results cannot go to {out}: it lies in {path}, the folder to be segmented, where "
                    "they would be taken for photographs the next time. Name a folder outside."
                )
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
    return [Photograph(*one) for one in zip(found, found.values(), result_names(found.values()), strict=True)]


def result_names(files: Iterable[str]) -> list[str]:
    """Names of results: files without suffix; where those are alike, a.jpg and a.png become a_jpg and a_png.

    Names that differ only in the case of letters count as alike: on some systems they are.
    """
    stems = [Path(file).with_suffix("").as_posix() for file in files]
    alike, names = Counter(stem.casefold() for stem in stems), {}  # casefolded -> as written
    for file, stem in zip(files, stems, strict=True):
        name = first = stem if alike[stem.casefold()] == 1 else f"{stem}_{Path(file).suffix[1:]}"
        number = 1
        while name.casefold() in names or (name != stem and name.casefold() in alike):
            number += 1
            name = f"{first}-{number}"
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
        save(Image.fromarray(drawn), out / entry["overlay"], **({"quality": 90} if overlays == "jpg" else {}))
    return entry


def full_size_labels(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Most likely labels, uint8 (height, width), of probabilities (K + 1, S, S) resized bilinearly to `size`.

    `size` is (width, height). Map by map, so that a large photograph needs little memory.
    """
    labels, best = np.zeros(size[::-1], np.uint8), np.full(size[::-1], -np.inf, np.float32)
    for k, each in enumerate(torch.from_numpy(np.asarray(probabilities, np.float32))):
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


def _write_parts(run: Run, done: Segmented) -> None:
    """Write parts.json, whole or not at all, with an image a line."""
    colours = ["#" + bytes(colour).hex() for colour in part_colours(run.config.generator.parts)]
    head = json.dumps({
        "about": ABOUT, "run": run.directory.resolve().name, "parts": run.config.generator.parts,
        "network_size": run.config.data.size, "colours": {str(k): colour for k, colour in enumerate(colours)},
        "skipped": [{"file": file, "reason": reason} for file, reason in sorted(done.skipped)],
    }, indent=2)  # fmt: skip
    lines = ",\n    ".join(json.dumps(image) for image in sorted(done.images, key=lambda image: image["file"]))
    with atomic_path(done.out / PARTS) as temporary:
        temporary.write_text(f'{head[:-2]},\n  "images": [\n    {lines}\n  ]\n}}\n')


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
