"""Files of data sets: images that are too large or of another kind are refused before they are decoded; lists."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganseg.data import flowers
from ganseg.data.files import is_image, list_files, read_list
from ganseg.data.images import MAX_PIXELS, open_checked, open_rgb, read_any_mask, read_mask
from ganseg.files import UserError

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # Pillow's own, lower


def bomb(path: Path, width: int, height: int) -> Path:
    """The header of an image, which states its size, without the pixels."""
    path.write_text(f"P6 {width} {height} 255\n")
    return path


@pytest.mark.parametrize("read", [read_mask, flowers.read_mask, read_any_mask, open_rgb])
def test_images_and_masks_above_the_limit_are_refused_before_they_are_decoded(tmp_path, read):
    with pytest.raises(ValueError, match="10001 x 10000 pixels is above the limit of 100,000,000 pixels"):
        read(bomb(tmp_path / "mask.png", 10_001, MAX_PIXELS // 10_000), 16)


def test_an_image_at_the_limit_is_opened(tmp_path):
    with open_checked(bomb(tmp_path / "image.png", 10_000, MAX_PIXELS // 10_000)) as image:
        assert image.size == (10_000, 10_000)


def test_a_file_that_would_start_a_program_is_not_opened(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "image.eps")
    (tmp_path / "image.eps").rename(tmp_path / "image.png")
    with pytest.raises(OSError, match="cannot identify"), open_checked(tmp_path / "image.png"):
        pass


def test_listing_takes_suffixes_in_any_case_and_leaves_the_rest(tmp_path):
    for name in "b.JPG a.Jpeg z/c.PNG z/y/d.webp e.bmp f.txt ._g.jpg .h/i.jpg z/@eaDir/c.PNG jpg".split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "itself.jpg").symlink_to(tmp_path / "itself.jpg")
    images = [name for name in list_files(tmp_path) if is_image(tmp_path / name)]
    assert images == ["a.Jpeg", "b.JPG", "e.bmp", "z/c.PNG", "z/y/d.webp"]


ROWS = ["a.jpg  1 -2", "b.jpg 3 4.5", "", "a.jpg 1 -2"]  # one comes twice


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("heading", [[], ["2", "name x y"], ["name x y"]])
def test_lists_are_read_with_any_line_ends_and_with_or_without_a_heading(tmp_path, heading, end):
    (tmp_path / "a.txt").write_bytes(end.join([*heading, *ROWS]).encode("utf-8-sig"))
    table = read_list(tmp_path / "a.txt", "name x y", "name")
    assert table.index.tolist() == ["a.jpg", "b.jpg"] and table.to_numpy().tolist() == [[1, -2], [3, 4.5]]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([*ROWS, "c.jpg 1"], r"1 rows of \S*a.txt are damaged or .* \(row 4\). A row is name, x, y"),
        ([*ROWS, "c.jpg 1 2 3"], r"\(row 4\)"),
        ([*ROWS, "c.jpg 1 left"], r"\(row 4\)"),
        ([*ROWS, "c.jpg 1 inf"], r"\(row 4\)"),
        ([*ROWS, "c.jpg 1 2 3 4"], "a.txt is missing or cannot be read"),
        ([*ROWS, "b.jpg 3 5"], r"contradict an earlier one \(b.jpg\)"),
        (["a", "b", "c", *ROWS], r"3 rows of .* \(row 1, row 2, row 3\)"),
        ([], "a.txt is missing or cannot be read"),
        (["", " "], "a.txt is missing or cannot be read"),
        (None, "a.txt is missing or cannot be read"),
    ],
)
def test_lists_that_are_missing_damaged_or_contradict_themselves_are_refused(tmp_path, lines, said):
    if lines is not None:
        (tmp_path / "a.txt").write_text("\n".join(lines))
    with pytest.raises(UserError, match=said):
        read_list(tmp_path / "a.txt", "name x y", "name")
