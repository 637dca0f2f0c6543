"""`taichi`: Taichi frames of 256 x 256 pixels (Siarohin et al. 2019) with the annotations of Table 3.

    data_dir/taichi-256/train/VIDEO/*.png               frames for the GAN; also taichi/train or train
    data_dir/eval_images/taichi-256/{train,test}/*.png  5,000 and 300 annotated frames
    data_dir/landmark/taichi_{train,test}_gt.pkl        pandas frames: file_name, value (18 x 2, missing -1)
    data_dir/taichi-test-masks/*.png                    optional: foreground above 127, of the 300 test frames

Splits: `train`, the GAN's frames; `regression` and `test`, annotated. A set that lacks the files of one split can be
used for the others. A table may also be a .npz (arrays file_name and value).

Landmarks are 0-based pixels (x, y) of these frames (their values are 0 to 255), centres at integers; annotated frames
of another size are refused. Missing landmarks are not visible and keep the value -1. EXIF orientation is not applied.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ganseg.data.download import RemoteFile
from ganseg.data.files import list_images, refuse
from ganseg.data.frames import read_frame
from ganseg.data.sets import MISSING, DataSet, Listing, Sample
from ganseg.files import reading

LANDMARKS, SIDE = 18, 256  # a frame, and pixels of the frames that they were marked in
FRAMES = ("taichi-256/train", "taichi/train", "train")
MASKS = "taichi-test-masks"
UNPACK = "Unpack the archive again."


def read_table(path: Path) -> dict[str, np.ndarray]:
    """(18, 2) points (x, y) by file name; UserError where it is damaged, of another form, or asks to run code."""
    with reading(path, f"It must hold file_name and value, {LANDMARKS} pairs (x, y) a row. {UNPACK}"):
        if path.suffix == ".pkl":
            names, values = read_frame(path)
        else:
            with np.load(path, allow_pickle=False) as arrays:
                names, values = arrays["file_name"].astype(str).tolist(), arrays["value"]
        points = np.array(values, float)
        if points.shape[1:] != (LANDMARKS, 2):
            raise ValueError(f"its values have the shape {points.shape}")
        table = dict(zip(names, points, strict=True))
    last = np.stack([table[name] for name in names])
    wrong = ~(np.isfinite(points) & (points == last)).all(axis=(1, 2))
    refuse(f"rows of {path} are damaged or contradict an earlier one", np.array(names)[wrong], UNPACK)
    return table


def list_taichi(data_dir: Path) -> Listing:
    """What lacks the files of one split can be used for the others."""
    frames = next((data_dir / name for name in FRAMES if (data_dir / name).is_dir()), data_dir / FRAMES[0])
    training = [Sample(name, frames / name) for name in list_images(frames)]
    names = tuple(f"landmark {j}" for j in range(1, LANDMARKS + 1))
    listing = Listing({"train": training}, keypoint_names=names, spare={"train": len(training)})
    for split, name in {"regression": "train", "test": "test"}.items():
        tables = [data_dir / f"landmark/taichi_{name}_gt{suffix}" for suffix in (".npz", ".pkl")]
        table = next((path for path in tables if path.is_file()), None)  # a converted one before its pickle
        folder, masks = data_dir / "eval_images/taichi-256" / name, data_dir / MASKS
        masked = split == "test" and masks.is_dir()
        listing.splits[split] = []
        for file, value in (read_table(table) if table and folder.is_dir() else {}).items():
            seen = (value != MISSING).all(axis=1, keepdims=True)
            points = np.concatenate([np.where(seen, value, np.nan), seen], axis=1)  # (18, 3)
            mask = (masks / file).with_suffix(".png") if masked else None
            listing.splits[split].append(Sample(file, folder / file, mask, points, (SIDE, SIDE)))
    return listing


SOURCE = "https://github.com/AliaksandrSiarohin/motion-cosegmentation"
ANNOTATED = f"From eval_images.tar.gz, whose address {SOURCE} has under Evaluation."
TAICHI = DataSet(
    "taichi", "Taichi", ("train", "regression", "test"), "flip", list=list_taichi, parts=(10,),
    counts={"regression": 5_000, "test": 300}, regression="regression", normaliser="taichi",
    licence="Frames of YouTube videos; their rights are their owners'. For research.", homepage=SOURCE,
    redistributable=False,
    files=(
        RemoteFile(FRAMES[0], how="The frames to train on: videos of YouTube, cut into PNG frames of 256 x 256 "
                   "pixels, a folder a video, as https://github.com/AliaksandrSiarohin/video-preprocessing says."),
        RemoteFile("eval_images/taichi-256", how=f"5,000 frames in train/, 300 in test/. {ANNOTATED}"),
        RemoteFile("landmark/taichi_train_gt.pkl", how=ANNOTATED),
        RemoteFile("landmark/taichi_test_gt.pkl", how=ANNOTATED),
        RemoteFile(MASKS, how=f"Masks of the 300 test frames; {SOURCE} does not give them: ask its authors. Without "
                   "them there is no IoU.", optional=True),
    ),
)  # fmt: skip
