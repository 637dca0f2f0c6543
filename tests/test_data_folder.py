"""A folder of anyone's files: what is a photograph, what masks and keypoints say, what is left out or refused."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import done
from PIL import Image

from ganseg.data import Split, check, fingerprint, load, warn_once
from ganseg.data.folder import is_held_out
from ganseg.files import UserError
from ganseg.pictures import colour_labels

pytestmark = pytest.mark.usefixtures("cache")
LAYOUT = np.zeros((24, 40), np.uint8)
LAYOUT[:12, 20:], LAYOUT[12:, :10], LAYOUT[:3, :20] = 1, 2, 3  # three parts, 24 % + 12 % + 6 % of the pixels
FRONT = LAYOUT > 0
PHOTO, MASK = np.full((24, 40, 3), 90, np.uint8), FRONT * np.uint8(255)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """65 photographs of 40 x 24 pixels, of which nothing is known yet."""
    warn_once.cache_clear()
    (tmp_path / "photos").mkdir()
    for i in range(65):
        Image.new("RGB", (40, 24), (2 * i, 9, 9)).save(tmp_path / "photos" / f"{i:02d}.bmp")
    return tmp_path / "photos"


def both_splits(root: Path, size: int = 16) -> list[Split]:
    return [load("folder", split, size, data_dir=root) for split in ("train", "test")]


def put(path: Path, image: Image.Image | bytes | np.ndarray, **options: object) -> None:
    """Write a file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)


def with_palette(numbers: np.ndarray, colours: object) -> Image.Image:
    image = Image.fromarray(numbers.astype(np.uint8), "L")
    image.putpalette(np.asarray(colours, np.uint8).tobytes())
    return image


def soft(mask: np.ndarray) -> Image.Image:
    """Black and white with edges of many greys."""
    return Image.fromarray(mask.astype(np.uint8) * 255).resize((97, 58), Image.Resampling.BICUBIC)


RGB = np.uint8([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]])  # as VOC paints its first classes
SPREAD, RANDOM = np.arange(256)[:, None] * [1, 1, 1], np.random.default_rng(0).integers(0, 256, (24, 40), np.uint8)
VOID = np.where(LAYOUT == 3, 255, LAYOUT).astype(np.uint8)  # the third part is unknown
UNKNOWN = {3: 255}
MASKS: dict[str, tuple[object, str | dict[int, int]]] = {  # what is written -> {part: what is read}, or what is said
    "0 and 255": (FRONT * np.uint8(255), {}),
    "0 and 1": (FRONT * np.uint8(1), {}),
    "0 and another number": (FRONT * np.uint8(38), {}),
    "one bit": (Image.fromarray(FRONT), {}),
    "numbers of parts": (LAYOUT, {}),
    "parts and 255": (VOID, UNKNOWN),
    "16 bits": (FRONT * np.uint16(65535), {}),
    "parts in 16 bits": (LAYOUT.astype(np.uint16), {}),
    "VOC: a palette on black": (with_palette(VOID, np.vstack([RGB, np.full((251, 3), 9), [[224, 224, 192]]])), UNKNOWN),
    "VOC: colours on black": (np.uint8([*RGB[:3], [224, 224, 192]])[LAYOUT], UNKNOWN),
    "ganseg segment": (with_palette(LAYOUT, colour_labels(np.arange(256))), {}),
    "a grey palette": (with_palette(FRONT, [[0] * 3, [255] * 3]), {}),
    "a palette of white and black": (with_palette(~FRONT, [[255] * 3, [0] * 3]), {}),
    "soft edges": (soft(FRONT), {}),
    "opaque": (Image.fromarray(FRONT * np.uint8(255)).convert("RGBA"), {}),
    "a trimap of 1, 2, 3": (LAYOUT % 3 + np.uint8(1), "values 1, 2, 3"),
    "levels of grey": (LAYOUT * np.uint8(80), "values 0, 80, 160, 240"),
    "noise": (RANDOM, "values 0, 1, 2, 3, 4, 5, ..."),
    "colours without black": (np.uint8([[255, 0, 0], [0, 0, 255]])[FRONT.astype(int)], "2 colours without black"),
    "colours of JPEG": ((RGB[LAYOUT], "jpg"), "colours"),
    "black and white of JPEG": ((FRONT * np.uint8(255), "jpg"), {}),
    "a palette that begins bright": (with_palette(LAYOUT, 255 - RGB), "a palette whose number 0 is not its darkest"),
    "transparency": (Image.fromarray(np.dstack([FRONT * np.uint8(255)] * 4)), "it is transparent in places"),
}  # fmt: skip


@pytest.mark.parametrize("case", MASKS)
def test_a_mask_is_read_as_it_is_meant_or_refused_with_what_was_found(root, case):
    (image, expected), suffix = MASKS[case], "png"
    image, suffix = image if isinstance(image, tuple) else (image, suffix)
    for i in range(65):
        put(root / "masks" / f"{i:02d}.{suffix}", image, **({"quality": 95} if suffix == "jpg" else {}))
    if isinstance(expected, str):
        with pytest.raises(UserError, match="masks are not understood") as refused:
            load("folder", "train", 40, data_dir=root)
        assert expected in str(refused.value) and "are not understood" in check("folder", root).faults[0]
        return
    truth = np.vectorize(lambda part: expected.get(part, int(part > 0)))(LAYOUT)
    read = np.asarray(Image.fromarray(load("folder", "train", 40, data_dir=root).foreground[0]).resize((40, 24), 0))
    assert (read != truth).mean() < 0.04
    share = (truth == 1).sum() / (truth != 255).sum()
    printed = done("data check folder", root).stdout
    told = float(printed.split("images have a mask; ")[1].split("%")[0]) / 100
    assert told == pytest.approx(share, abs=0.03)


NFC, NFD = "B\u00e4r", "Ba\u0308r"
LAYOUTS: dict[str, tuple[list[str], int, int, str]] = {  # files more -> photographs and masks more, what is said
    "annotations/": (["annotations/00.png"], 0, 0, "look like labels and belong to no image (annotations/00.png)"),
    "Masks/": (["Masks/00.png"], 0, 1, ""),
    "a_mask beside a": (["00_mask.png"], 0, 1, ""),
    "masks in numbers": (["00_mask.png", "00_mask_1.png"], 0, 1, "belong to no image (00_mask_1.png)"),
    "mask_1 beside image_1": (["image_1.jpg", "mask_1.png"], 1, 1, ""),
    "SegmentationClass/": (["JPEGImages/a.jpg", "SegmentationClass/a.png"], 1, 0, "(SegmentationClass/a.png)"),
    "images/ and masks/": (["images/a.jpg", "masks/a.png"], 1, 1, ""),
    "train/images/ and train/masks/": (["train/images/a.jpg", "train/masks/a.png"], 1, 1, ""),
    "train_images/ and train_masks/": (["train_images/a.jpg", "train_masks/a.png"], 1, 1, ""),
    "images/train/ and masks/train/": (["images/train/a.jpg", "masks/train/a.png"], 1, 1, ""),
    "another Unicode form": ([f"{NFC}.jpg", f"masks/{NFD}.png"], 1, 1, ""),
    "thumbnails": (["@eaDir/00.jpg/SYNOPHOTO_THUMB_M.jpg", ".thumbs/00.png"], 0, 0, ""),
    "a segmented folder": (["out/parts.json", "out/overlays/00.jpg", "out/masks/00.png"], 0, 0, "GANSeg wrote (out/"),
    "segmented here": (["parts.json", "overlays/00.jpg", "masks/00.png"], 0, 0, "2 files are what GANSeg wrote (masks"),
    "thumbnails/": (["thumbnails/00.png"], 0, 0, "belong to no image (thumbnails/00.png)"),
    "what was thrown away": (["#recycle/00.png", "$RECYCLE.BIN/a.png"], 0, 0, ""),
    "a_seg beside a": (["00_seg.png"], 0, 0, "belong to no image (00_seg.png)"),
    "00mask beside 00": (["00mask.png"], 0, 1, ""),
    "copies": (["a.png", "backup/a.png"], 2, 0, "1 images are copies of others (backup/a.png)"),
    "results": (["results/tiny/runs/r/samples.npz", "results/tiny/runs/r/samples.png", "results/tiny/figures/a.png"],
                0, 0, "3 files are what GANSeg wrote (results/tiny/figures/a.png"),
    "HEIC": (["a.heic", "b/c.HEIC"], 0, 0, "2 files are no images of a kind that is read (a.heic, b/c.HEIC)"),
    "jfif": (["a.jfif"], 1, 0, ""),
    "video": (["a.mp4"], 0, 0, "1 files are no images of a kind that is read (a.mp4)"),
    "a label that stands alone": (["carnival_mask.jpg"], 1, 0, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUTS)
def test_photographs_masks_and_what_is_left_out_are_told_apart(root, case, caplog):
    files, photographs, masks, said = LAYOUTS[case]
    for file in files:
        readable = Path(file).suffix in (".jpg", ".png")
        put(root / file, (MASK if "mask" in file.casefold() else PHOTO) if readable else b"no image")
    if case == "jfif":
        Image.fromarray(PHOTO).save(root / "a.jfif", "JPEG")
    report = check("folder", root)
    assert not report.faults and sum(report.counts.values()) == 65 + photographs
    assert report.labels["foreground masks"] == masks and said in "\n".join(report.oddities)
    assert fingerprint("folder", root) and sum(map(len, both_splits(root))) == 65 + photographs and said in caplog.text


def test_too_few_photographs_are_refused_with_what_else_there_is(tmp_path):
    for i in range(80):
        put(tmp_path / f"{i}.heic", b"no image")
        put(tmp_path / "labels" / f"{i}.png", MASK)
    said = r"found 0 images; at least 64 .*80 files are no images.*0.heic.*80 files look like labels"
    with pytest.raises(UserError, match=said):
        load("folder", "train", 16, data_dir=tmp_path)


def paint(name: str, colour: tuple[int, int, int]) -> Callable[[Path], None]:
    """Other pixels in a file of the same name, size and time."""

    def change(root: Path) -> None:
        before = (root / name).stat()
        Image.new("RGB", Image.open(root / name).size, colour).save(root / name)
        assert (root / name).stat().st_size == before.st_size
        os.utime(root / name, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


CHANGES: dict[str, Callable[[Path], None]] = {
    "other pixels": paint("07.bmp", (1, 2, 3)),
    "a mask more": lambda root: put(root / "masks" / "08.bmp", MASK),
    "a mask of other pixels": paint("masks/00.bmp", (255, 255, 255)),
    "another keypoint": lambda root: put(root / "keypoints.csv", b"name,x,y\n00.bmp,2,2\n"),
    "another name of it": lambda root: put(root / "keypoints.csv", b"name,point,x,y\n00.bmp,eye,1,2\n"),
    "an image less": lambda root: (root / "09.bmp").unlink(),
}


@pytest.mark.parametrize("case", CHANGES)
def test_other_images_and_labels_make_another_data_set_and_another_place_does_not(root, tmp_path, case):
    Image.new("RGB", (40, 24)).save(root / "04.bmp")
    put(root / "masks" / "00.bmp", Image.new("RGB", (40, 24)))
    put(root / "keypoints.csv", b"name,x,y\n00.bmp,1,2\n")
    before = load("folder", "train", 16, data_dir=root)
    known = fingerprint("folder", root)
    shutil.copytree(root, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "notes.txt").touch()
    assert fingerprint("folder", tmp_path / "elsewhere") == known == fingerprint("folder", root)
    CHANGES[case](root)
    assert fingerprint("folder", root) != known
    if case == "other pixels":
        after = load("folder", "train", 16, data_dir=root)
        assert (before.images[before.names.index("07.bmp")] != after.images[after.names.index("07.bmp")]).any()


def test_train_and_test_share_few_images_which_is_told_once_and_adding_a_file_moves_no_other(root, caplog):
    train, test = both_splits(root)
    assert caplog.text.count("65 images are few. The paper asks for more than 5,000") == 1
    assert not set(train.names) & set(test.names) and len(train) + len(test) == 65
    assert train.foreground is None and train.keypoints is None
    put(root / "000-first.png", PHOTO)
    again = load("folder", "test", 16, data_dir=root)
    assert set(again.names) - {"000-first.png"} == set(test.names)
    assert [image[0, 0, 0] for image in train.images] == [2 * int(name[:2]) for name in train.names]


def test_a_tenth_is_held_out():
    share = np.mean([is_held_out(f"images/{i}.jpg") for i in range(5000)])
    assert 0.085 < share < 0.115


def test_broken_files_are_listed_counted_and_skipped(root, tmp_path, caplog):
    Image.new("RGB", (400, 400)).save(tmp_path / "whole.jpg")
    half = (tmp_path / "whole.jpg").read_bytes()[:1000]
    broken = {"cut.jpg": half, "empty.png": b"", "text.webp": b"no image", "cut2.JPG": half[:40]}
    for name, content in broken.items():
        put(root / name, content)
    for _ in range(2):  # again, from the cache
        caplog.clear()
        warn_once.cache_clear()
        splits = both_splits(root)
        assert "4 unreadable images are left out (cut.jpg: image file is truncated" in caplog.text
        assert caplog.text.count("69 images are few. The paper asks for more than 5,000") == 1  # of both splits
    assert sum(map(len, splits)) == 65
    assert {said.split(":")[0] for split in splits for said in split.skipped} == set(broken)


def test_broken_images_are_not_counted_among_those_that_are_needed(tmp_path):
    for i in range(70):
        put(tmp_path / f"{i}.png", b"broken")
    said = r"[56]\d images of folder-train or their masks cannot be read \(\d+.png: cannot .*; 6 of .. can be left out"
    with pytest.raises(UserError, match=said):
        both_splits(tmp_path)
    assert "6 of" in check("folder", tmp_path).faults[0]


@pytest.fixture
def labelled(root: Path) -> Path:
    """00 to 09 have a mask, 00 to 05 two keypoints."""
    for i in range(10):
        put(root / "masks" / f"{i:02d}.png", MASK)
    rows = [f"{i:02d}.bmp,top right,39,0,1\n{i:02d}.bmp,bottom left,0,23,{int(i != 2)}" for i in range(6)]
    (root / "keypoints.csv").write_text("name,point,x,y,visible\n" + "\n".join(rows) + "\n")
    return root


def test_keypoints_follow_their_image_and_the_others_have_none(labelled):
    train, test = both_splits(labelled, 20)
    assert train.keypoint_names == test.keypoint_names == ("top right", "bottom left")
    seen = {n: (k, v) for s in (train, test) for n, k, v in zip(s.names, s.keypoints, s.visible, strict=True)}
    np.testing.assert_allclose(seen["00.bmp"][0], [[19.25, -1 / 12], [-0.25, 23.5 * 20 / 24 - 0.5]], atol=1e-4)
    assert [seen[name][1].tolist() for name in ("00.bmp", "02.bmp", "10.bmp")] == [[1, 1], [1, 0], [0, 0]]
    first = load("folder", "train", 20, data_dir=labelled, limit=1)
    (labelled / "keypoints.csv").write_text(f"name,x,y\n{train.names[-1]},1,2\n")
    alone = load("folder", "train", 20, data_dir=labelled, limit=1)
    assert first.names == alone.names and not alone.visible.any()


def test_labels_refer_to_the_upright_image(root):
    """Photographs that are stored lying on their side; one shows its own mask, and has a keypoint."""
    exif = Image.Exif()
    exif[0x0112] = 6  # viewers turn it clockwise
    for name in ("0.jpg", "1.jpg"):
        put(root / name, Image.fromarray(MASK).rotate(90, expand=True), quality=100, exif=exif)
    put(root / "masks" / "0.png", MASK)
    put(root / "keypoints.csv", b"name,x,y\n0.jpg,39,0\n")
    ((split, i),) = [(s, s.names.index("0.jpg")) for s in both_splits(root) if "0.jpg" in s.names]
    np.testing.assert_allclose(split.keypoints[i, 0], [39.5 * 16 / 40 - 0.5, 0.5 * 16 / 24 - 0.5], atol=1e-4)
    assert split.visible[i].all() and ((split.images[i][..., 0] > 127) == split.foreground[i]).mean() > 0.95
    put(root / "masks" / "1.png", MASK.T)
    with pytest.raises(UserError, match=r"shape .* \(1.jpg: image 40 x 24, mask 24 x 40 pixels\).*of the upright"):
        both_splits(root)


def test_larger_masks_of_the_same_shape_fit_and_a_mask_may_have_the_images_full_name(labelled):
    put(labelled / "masks" / "01.png", Image.new("L", (80, 48), 255))
    put(labelled / "00.jpg", PHOTO)
    (labelled / "masks" / "00.png").rename(labelled / "masks" / "00.bmp.png")
    report = check("folder", labelled)
    assert not report.faults and report.labels["foreground masks"] == 10


DAMAGED = "damaged or contradict an earlier one"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("00.jpg", "", "2 images share a mask with another (00.bmp, 00.jpg)"),
        ("keypoints.csv", "", "must begin with the line name,x,y"),
        ("keypoints.csv", "image,x,y\n00.bmp,1,2\n", "must begin with the line name,x,y"),
        ("keypoints.csv", "name,x,y\n00.bmp,1,left\n", f"rows of ROOT/keypoints.csv are {DAMAGED} (row 1, row 2)"),
        ("keypoints.csv", "name,x,y\n00.bmp,1,2\n02.bmp,1,\n", "(row 3). A row is name, x, y"),
        ("keypoints.csv", "name,x,y,visible\n00.bmp,1,2,maybe\n", "row 2)"),
        ("keypoints.csv", "name,x,y,visible\n00.bmp,1,2,3\n", "neither 0 nor 1 (00.bmp)"),
        ("keypoints.csv", "name,x,y\n00.bmp,1,2\n00.bmp,1,3\n", "contradict an earlier one (00.bmp)"),
        ("keypoints.csv", "name,x,y\nz.png,1,2\n", "1 names in keypoints.csv are no image of the folder (z.png)"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(labelled, file, content, said):
    (labelled / file).write_text(content)
    said = said.replace("ROOT", str(labelled))
    with pytest.raises(UserError, match=re.escape(said)):
        both_splits(labelled)
    assert said in check("folder", labelled).faults[0]


def test_the_report_counts_labels_and_tells_of_what_may_surprise(labelled):
    put(labelled / "cut.jpg", b"no image")
    with (labelled / "keypoints.csv").open("a") as file:
        file.write("06.bmp,top right,40,0,1\nelse.png,top right,4,0,1\n")
    report = check("folder", labelled)
    assert sum(report.counts.values()) == 66 and set(report.counts) == {"train", "test"} and not report.faults
    assert report.labels == {"foreground masks": 10, "keypoints": 7, "visible keypoints": 12}
    said = "\n".join(report.oddities)
    assert "1 unreadable images are left out (cut.jpg: " in said and "no image of the folder (else.png)" in said
