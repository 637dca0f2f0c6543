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

import pickle
from pathlib import Path
from typing import Any, Self

import numpy as np

from ganseg.data.files import SUFFIXES, is_image, list_files, refuse
from ganseg.data.sets import MISSING, DataSet, Listing, RemoteFile, Sample
from ganseg.files import reading

LANDMARKS, SIDE = 18, 256  # a frame, and pixels of the frames that they were marked in
FRAMES = ("taichi-256/train", "taichi/train", "train")
MASKS = "taichi-test-masks"
UNPACK = "Unpack the archive again."
LARGEST = 100_000_000  # bytes of a table, unpacked


class Record:
    """A call that a pickle asked for, and the state it wanted to set. Nothing is called."""

    def __new__(cls, *args: Any) -> Self:
        record = super().__new__(cls)
        record.args, record.state = args, None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state
        self.complete.append(self)

    def numbers(self) -> np.ndarray:
        """The array that it stands for; an exception of any type where it is one of objects."""
        if type(self).__name__ == "_frombuffer":  # protocol 5
            content, dtype, shape, order = self.args[:4]
        else:
            shape, dtype, fortran, content = self.state[-4:]
            order = "F" if fortran else "C"
        if type(content).__name__ == "encode":  # protocols 0 to 2 write bytes as Latin-1 text
            content = content.args[0].encode("latin1")
        return np.frombuffer(content, dtype.state[1] + dtype.args[0]).reshape(shape, order=order)


class FrameUnpickler(pickle.Unpickler):
    """Reads pickled pandas frames without running them: `complete` are the records that have their state.

    A pickle is a program: loading one calls whatever functions it names. Here every name becomes an inert record of
    what it would have been called with. Neither pandas' nor NumPy's unpickling takes part: they trust the file, and
    three wrong bytes in it end the process.
    """

    complete: list[Record]

    def find_class(self, module: str, name: str) -> type[Record]:
        """The stand-in for a name, whichever it is."""
        return type(name, (Record,), {"complete": self.complete})


def read_frame(path: str | Path) -> tuple[list[str], list[np.ndarray]]:
    """Names of image files and the array of numbers of each, from the frame pickled in `path`. No code in it is run.

    They are found among the arrays of objects, wherever a version of pandas puts them. An exception of any type where
    the file is damaged or does not hold one array a name.
    """
    with Path(path).open("rb") as file:
        reader = FrameUnpickler(file, encoding="latin1")
        reader.complete = []
        reader.load()
    states = [record.state[-1] for record in reader.complete if type(record).__name__ == "_reconstruct"]
    cells = [cell for state in states if isinstance(state, list) for cell in state]
    names = [cell for cell in cells if isinstance(cell, str) and cell.lower().endswith(SUFFIXES)]
    arrays = [cell for cell in cells if type(cell).__name__ in ("_reconstruct", "_frombuffer")]
    if not names or len(names) != len(arrays):
        raise ValueError(f"it holds {len(names)} names of images and {len(arrays)} arrays")
    return names, [array.numbers() for array in arrays]


def read_table(path: Path) -> dict[str, np.ndarray]:
    """(18, 2) points (x, y) by file name; UserError where it is damaged or of another form."""
    with reading(path, f"It must hold file_name and value, {LANDMARKS} pairs (x, y) a row. {UNPACK}"):
        if path.suffix == ".pkl":
            names, values = read_frame(path)
        else:
            with np.load(path, allow_pickle=False) as arrays:
                if sum(entry.file_size for entry in arrays.zip.infolist()) > LARGEST:
                    raise ValueError("it would fill the memory")
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
    found = list_files(frames) if frames.is_dir() else []
    training = [Sample(name, frames / name) for name in found if is_image(frames / name)]
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
