"""Part masks of anyone's photographs, written as label maps, overlays and `parts.json`; and generated images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ganseg.files import UserError, atomic_path
from ganseg.metrics import SPECK
from ganseg.part_masks import full_size_labels, indexed, measure_parts
from ganseg.photographs import Decoded, batches, decoded, find_photographs
from ganseg.pictures import overlay, part_colours, save
from ganseg.provenance import cores

if TYPE_CHECKING:
    from ganseg.runs import Run

OVERLAYS = ("jpg", "png", "none")
PARTS = "parts.json"
ABOUT = {
    "centre": "(x, y) in pixels of the upright image, x right, y down, pixel centres at integers, or null",
    "area": "fraction of the image", "visible": f"whether the part covers at least {SPECK:.1%} of the image",
}  # fmt: skip


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
    from ganseg.devices import make_fabric, place
    from ganseg.evaluation import predict

    photographs = find_photographs(paths, out)
    if overlays not in OVERLAYS:
        raise UserError(f"overlays cannot be {overlays!r}; they are {', '.join(OVERLAYS)}")
    fabric = make_fabric(device)
    segmenter, done = place(run.segmenter(), fabric), Segmented(Path(out).expanduser())
    pool, writing = ThreadPoolExecutor(workers or cores()), []
    images = decoded(photographs, run.config.data.size, pool, batch_size, done.skipped)
    try:
        for batch in batches(images, batch_size):
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


def generate(run: Run, count: int, seed: int = 0, device: str = "auto") -> tuple[np.ndarray, np.ndarray]:
    """Generated images (N, S, S, 3) and their labels (N, S, S), uint8; the same for one seed and device."""
    import torch

    from ganseg.devices import make_fabric, place
    from ganseg.pictures import to_pictures

    fabric = make_fabric(device)
    generator = place(run.generator(), fabric)
    random = torch.Generator(fabric.device).manual_seed(seed)
    chunks = []
    with torch.no_grad(), fabric.autocast():
        for start in range(0, count, 64):
            images, labels = generator.pairs(generator.noise(min(64, count - start), random))
            chunks.append((to_pictures(images), labels.byte().cpu().numpy()))  # (B, S, S, 3), (B, S, S)
    return np.concatenate([c[0] for c in chunks]), np.concatenate([c[1] for c in chunks])


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
