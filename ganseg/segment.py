"""Part masks of anyone's photographs, written as label maps, overlays and `parts.json`."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ganseg.data.files import SUFFIXES, each, told
from ganseg.data.folder import photographs as sorted_out
from ganseg.data.images import open_rgb, squash
from ganseg.devices import make_fabric, place
from ganseg.evaluation import predict
from ganseg.files import UserError, place as typed, write_json
from ganseg.metrics import SPECK, part_centres
from ganseg.pictures import colour_labels, overlay, save
from ganseg.progress import follow
from ganseg.runs import Run

PARTS = "parts.json"
ABOUT = {
    "centre": "of the part's probabilities, (x, y) in pixels of the upright image, pixel centres at integers, or null",
    "area": "fraction of the image", "visible": f"whether the part covers at least {SPECK:.1%} of the image",
}  # fmt: skip


class Photograph(NamedTuple):
    """An image to be segmented: where it is, `file` as parts.json calls it, and the `name` of its results."""

    path: Path
    file: str
    name: str


def segment_images(
    run: Run, paths: Iterable[str | Path], out: str | Path, *, device: str = "auto", batch_size: int = 8,
    progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Segment image files, and all images under folders, with the segmentation network of `run`; what parts.json says.

    Writes under `out`, keeping folders and stems: masks/NAME.png (indexed: 0 background, k part k, in the parts'
    colours), overlays/NAME.jpg, parts.json; at the size of the image and upright as viewers show it. Files that cannot
    be read or written are skipped and listed. `batch_size` images are in memory at a time. UserError for no images, or
    `out` among them.
    """
    out, fabric, size = typed(out), make_fabric(device), run.config.data.size
    (photographs, left_out), done = find_photographs(paths, out), {}
    segmenter, colours = place(run.segmenter(), fabric), colour_labels(np.arange(run.config.generator.parts + 1))
    with follow(total=len(photographs), desc="segmenting", unit=" images", disable=not progress) as bar:
        for start in range(0, len(photographs), batch_size):
            batch = photographs[start : start + batch_size]
            done |= zip(batch, each(open_rgb, [one.path for one in batch]), strict=True)
            read = {one: done[one] for one in batch if not isinstance(done[one], Exception)}
            if read:
                small = [squash(image, size) for image in read.values()]
                found = [*zip(read, read.values(), predict(segmenter, np.stack(small), fabric).numpy(), strict=True)]
                done |= zip(read, each(lambda one: _write(out, *one), found), strict=True)
            bar.update(len(batch))
    failed = [(one.file, why) for one, why in done.items() if isinstance(why, Exception)]
    skipped = [{"file": file, "reason": str(why) or type(why).__name__} for file, why in failed]
    if len(skipped) == len(done):
        first = ": ".join(skipped[0].values())
        raise UserError(f"none of the {len(photographs)} images can be read and written; the first: {first}")
    report = {
        "about": ABOUT, "run": run.directory.resolve().name, "parts": len(colours) - 1, "network_size": size,
        "colours": {k: "#" + bytes(colour).hex() for k, colour in enumerate(colours)},
        "skipped": skipped, "left_out": left_out, "images": [one for one in done.values() if isinstance(one, dict)],
    }  # fmt: skip
    write_json(out / PARTS, report)
    return report


def find_photographs(paths: Iterable[str | Path], out: Path) -> tuple[list[Photograph], list[str]]:
    """The files among `paths`, whatever their suffix, and photographs under its folders; what of these is left out.

    Results are named as the files without suffix; where those are alike, in any case of letters: a, a-2, a-3. UserError
    for none.
    """
    given, found, taken, left_out = [typed(path) for path in paths], {}, set(), []
    for path in given:
        if not path.exists():
            raise UserError(f"{path} is not there; name images, or folders of images")
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            again = "where the results would be taken for photographs the next time"
            raise UserError(f"{out} lies in {path}, the folder to be segmented, {again}. Name a folder outside.")
        prefix, folder, files = "", path.parent, [path.name]
        if path.is_dir():
            prefix, folder = f"{path.resolve().name}/" if len(given) > 1 else "", path
            files, labels, lost = sorted_out(path)
            left_out += [*told("files look like labels of photographs", labels, "Name them to segment them."), *lost]
        for file in (file for file in files if folder / file not in found):
            stem = Path(prefix + file).with_suffix("").as_posix()
            numbered = itertools.chain([stem], (f"{stem}-{i}" for i in itertools.count(2)))
            name = next(name for name in numbered if name.casefold() not in taken)
            taken.add(name.casefold())
            shown = prefix + file if name == stem else str(folder / file)  # of those that are alike one keeps its name
            found[folder / file] = Photograph(folder / file, shown, name)
    if not found:
        looked = f"no images in {', '.join(map(str, given))}; looked for {', '.join(SUFFIXES)}, also in folders below"
        raise UserError(". ".join([looked, *left_out]))
    return list(found.values()), left_out


def _write(out: Path, one: Photograph, image: Image.Image, probabilities: np.ndarray) -> dict[str, Any]:
    """Write the mask and the overlay of an image; its entry in parts.json."""
    labels = full_size_labels(probabilities, image.size)
    mask, where = Image.fromarray(labels), {"mask": f"masks/{one.name}.png", "overlay": f"overlays/{one.name}.jpg"}
    mask.putpalette(colour_labels(np.arange(256)).tobytes())
    drawn = overlay(np.asarray(image), labels, contour=max(1, round(max(labels.shape) / 300)))
    save(mask, out / where["mask"], compress_level=1)  # thrice as fast for a few kB more
    save(Image.fromarray(drawn), out / where["overlay"], quality=90)
    parts = measure_parts(probabilities, labels)
    return {"file": one.file, "width": image.width, "height": image.height, **where, "parts": parts}


def full_size_labels(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Most likely labels, uint8 (height, width), of probabilities (K + 1, S, S) resized bilinearly to `size`.

    `size` is (width, height). Map by map, so that a large photograph needs little memory.
    """
    labels, best = np.zeros(size[::-1], np.uint8), np.full(size[::-1], -np.inf, np.float32)
    for k, soft in enumerate(torch.from_numpy(probabilities)):
        large = F.interpolate(soft[None, None], size[::-1], mode="bilinear", align_corners=False)[0, 0].numpy()
        labels[large > best] = k
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
