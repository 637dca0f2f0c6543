"""Small copies of the published data sets in their genuine formats, with landmarks that can be seen.

An image is dark, with a bright block about each of the landmarks SEEN, a channel each; its EXIF data call it turned.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io
from PIL import Image

WILD, ALIGNED = "celeba-wild", "celeba-aligned"
SEEN = {WILD: [0, 1, 3], ALIGNED: [0, 1, 3], "cub": [1, 6, 13], "taichi": [0, 3, 17]}
FRACTIONS = np.array([[0.25, 0.2], [0.6, 0.3], [0.5, 0.45], [0.3, 0.7], [0.75, 0.6]])
MAFL = {"training": (2, 4, 8), "testing": (3, 9)}
FOLDERS = {WILD: "img_celeba", ALIGNED: "img_align_celeba"}
BIRDS = {1: "train", 2: "train", 3: "train", 10: "val", 12: "test", 19: "test"}  # ids in the paper's split
SIZES = {1: (120, 80), 2: (80, 120), 3: (64, 64), 10: (90, 30), 12: (120, 80), 19: (50, 100)}
FLOWERS = {"tstid": [7, 3, 1], "trnid": [2, 5], "valid": [6, 4]}
POINTS = "landmark/taichi_test_gt.pkl"


def save(path: Path, size: tuple[int, int], points: np.ndarray, shade: int = 0) -> None:
    """The image (W, H) of three points (x, y)."""
    array = np.full((size[1], size[0], 3), shade, np.uint8)
    for channel, (x, y) in enumerate(points.astype(int)):
        array[y - 4 : y + 5, x - 4 : x + 5, channel] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # not applied: landmarks are of the stored pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=100, subsampling=0, exif=exif)


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def face(number: int) -> str:
    """Ten faces; the seventh is the last of CelebA's training partition."""
    return f"{162_763 + number:06d}.jpg"


def face_size(form: str, number: int) -> tuple[int, int]:
    return (178, 218) if form == ALIGNED else (120 + 10 * number, 200 - 5 * number)


def landmarks(form: str, number: int) -> np.ndarray:
    """(5, 2) of a face, or (18, 2) of a frame, whose 1 and 2 are missing; without symmetry."""
    if form != "taichi":
        return np.round(FRACTIONS * face_size(form, number)).astype(int) + number
    points = np.stack([(37 * np.arange(18) + 60 * number) % 256, (91 * np.arange(18) + 20 * number) % 256], axis=1)
    points[SEEN["taichi"]], points[[1, 2]] = [[40, 200], [200 + number, 50], [100, 120 + number]], -1
    return points


def write_list(path: Path, header: str, rows: dict[int, object]) -> None:
    """As CelebA's lists are: a count, a header, and the rows."""
    lines = [f"{face(n)} " + "  ".join(map(str, np.ravel(row))) for n, row in rows.items()]
    write(path, str(len(rows)), header, *lines)


def write_boxes(root: Path, change: dict[int, tuple[int, ...]] | None = None) -> None:
    """Boxes over just more than 30 % of each face's image, but for `change`."""
    sizes = {n: face_size(WILD, n) for n in range(1, 11)}
    table = {n: (2, 3, int(0.6 * w), int(0.55 * h)) for n, (w, h) in sizes.items()} | (change or {})
    write_list(root / "list_bbox_celeba.txt", "image_id x_1 y_1 width height", table)


def write_names(root: Path, part: str, numbers: tuple[int, ...]) -> None:
    (root / "MAFL").mkdir(exist_ok=True)
    (root / "MAFL" / f"{part}.txt").write_bytes(b"".join(f"{face(n)}\r\n".encode() for n in numbers))


def celeba(root: Path, form: str) -> Path:
    points = {n: landmarks(form, n) for n in range(1, 11)}
    for number, places in points.items():
        save(root / FOLDERS[form] / face(number), face_size(form, number), places[SEEN[form]])
    name = f"list_landmarks_{'' if form == WILD else 'align_'}celeba.txt"
    write_list(root / name, "lefteye_x lefteye_y righteye_x and so on", points)
    write_boxes(root)
    sizes = {n: face_size(form, n) for n in points}
    write(root / "list_imsize_celeba.txt", *(f"{face(n)} {h} {w}" for n, (w, h) in sizes.items()))
    for part, numbers in MAFL.items():
        write_names(root, part, numbers)
    return root


def bird(number: int) -> str:
    return f"{number:03d}.Some_Bird/Some_Bird_{number:04d}_{number}.jpg"


def bird_points(number: int) -> np.ndarray:
    """(3, 2) of those SEEN; the other twelve are not visible."""
    return np.round(FRACTIONS[[0, 4, 3]] * SIZES[number])


def cub(folder: Path) -> Path:
    root, rows = folder / "CUB_200_2011", []
    for number in BIRDS:
        save(root / "images" / bird(number), SIZES[number], bird_points(number), 2 * number)
        points = dict(zip(SEEN["cub"], bird_points(number), strict=True))
        for j in range(15):
            x, y = points.get(j, (0.0, 0.0))
            rows.append(f"{number} {j + 1} {x:.1f} {y:.1f} {int(j in points)}")
    write(root / "images.txt", *(f"{i} {bird(i)}" for i in BIRDS))
    write(root / "parts" / "part_locs.txt", *rows)
    write(root / "bounding_boxes.txt", *(f"{i} 0.0 0.0 {SIZES[i][0] / 2} {SIZES[i][1] / 4}" for i in BIRDS))
    write(root / "train_test_split.txt", *(f"{i} {int(i < 3)}" for i in BIRDS))
    return root


def bird_masks(folder: Path, *numbers: int) -> None:
    """Annotators' votes: above 127 in the upper left quarter, 102 on the right; the mask of 19 is RGB."""
    for number in numbers:
        votes = np.kron(np.uint8([[153 if number % 2 else 255, 102], [0, 102]]), np.ones((20, 20), np.uint8))
        mask = Image.fromarray(np.stack([votes, 255 - votes, 255 - votes], axis=-1) if number == 19 else votes)
        path = (folder / bird(number)).with_suffix(".png")
        path.parent.mkdir(parents=True)
        mask.resize(SIZES[number], Image.Resampling.NEAREST).save(path)


def flowers(root: Path) -> Path:
    """Grey that tells the number, the left fifth white."""
    for number in range(1, 8):
        array = np.full((30, 50, 3), 20 * number, np.uint8)
        array[:, :10] = 255
        (root / "jpg").mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(root / "jpg" / f"image_{number:05d}.jpg", quality=100)
    scipy.io.savemat(root / "setid.mat", {key: np.array([ids], np.uint16) for key, ids in FLOWERS.items()})
    return root


def segmim(root: Path, *numbers: int) -> None:
    """Everything but the upper left quarter is painted blue."""
    (root / "segmim").mkdir()
    for number in numbers:
        array = np.full((32, 48, 3), (0, 0, 254), np.uint8)
        array[:16, :24] = (200, 90, 60)
        Image.fromarray(array).save(root / "segmim" / f"segmim_{number:05d}.jpg", quality=100, subsampling=0)


def trimaps(root: Path, *numbers: int) -> None:
    """Upper half flower, a band of 255, the rest background."""
    (root / "trimaps").mkdir()
    for number in numbers:
        array = np.zeros((32, 32), np.uint8)
        array[:12], array[12:16] = 1, 255
        Image.fromarray(array).save(root / "trimaps" / f"image_{number:05d}.png")


def taichi(root: Path) -> Path:
    """Five annotated frames to fit on, two to test, three to train on; the mask of 006 is RGB."""
    for name, numbers in (("train", range(5)), ("test", range(5, 7))):
        for i in numbers:
            path = root / "eval_images" / "taichi-256" / name / f"{i:03d}.png"
            save(path, (256, 256), landmarks("taichi", i)[SEEN["taichi"]], 10 * i)
        write_points(root, [f"{i:03d}.png" for i in numbers], [landmarks("taichi", i) for i in numbers], name)
    (root / "taichi-test-masks").mkdir()
    for i in (5, 6):
        mask = np.kron(np.uint8([[255, 0], [0, 127]]), np.ones((128, 128), np.uint8))
        array = mask if i == 5 else np.stack([mask, 255 - mask, mask * 0], axis=-1)
        Image.fromarray(array).save(root / "taichi-test-masks" / f"{i:03d}.png")
    for i, name in enumerate(("one.mp4/0000000.png", "two.mp4/0000000.png", "two.mp4/0000001.png")):
        save(root / "taichi-256" / "train" / name, (256, 256), landmarks("taichi", i)[SEEN["taichi"]], 10 * i)
    return root


def write_points(root: Path, names: list[str], values: list, part: str = "test") -> None:
    (root / "landmark").mkdir(exist_ok=True)
    pd.DataFrame({"file_name": names, "value": values}).to_pickle(root / POINTS.replace("test", part))


def build(name: str, folder: Path) -> Path:
    """One of them, in a folder of its own."""
    return celeba(folder, name) if name in FOLDERS else {"cub": cub, "flowers": flowers, "taichi": taichi}[name](folder)
