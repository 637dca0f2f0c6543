"""Colours of parts, overlays and contact sheets."""

import itertools

import numpy as np
import pytest
from PIL import Image

from ganseg import pictures
from ganseg.data import Split

# How colours look to people without red cones and without green cones: Machado et al. (2009), linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}


def seen(colours: np.ndarray, blindness: str) -> np.ndarray:
    """(K, 3) linear RGB as seen."""
    srgb = colours / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.clip(linear @ np.asarray(BLINDNESS[blindness]).T, 0, 1)


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_parts_differ_and_are_lighter_than_the_background_for_every_kind_of_colour_vision(blindness):
    linear = seen(pictures.COLOURS[:13], blindness)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16  # L* of CIELAB, 0 to 100
    assert lightness[1:].min() > lightness[0] + 4
    pairs = itertools.combinations(np.cbrt(linear[:9]), 2)  # the first eight parts
    assert min(np.linalg.norm(a - b) for a, b in pairs) > 0.1


def test_labels_become_the_colours_of_their_parts_which_never_repeat_and_back():
    coloured = pictures.colour_labels(np.arange(256).reshape(1, 16, 16))
    assert coloured.shape == (1, 16, 16, 3) and coloured.dtype == np.uint8
    assert len(np.unique(coloured.reshape(-1, 3), axis=0)) == 256
    np.testing.assert_array_equal(coloured[0, 0, :6], pictures.COLOURS[:6])
    np.testing.assert_array_equal(pictures.labels_of(coloured), np.arange(256).reshape(1, 16, 16))
    white = np.full((1, 2, 2, 3), 255, np.uint8)
    assert (pictures.labels_of(white) == 1).all(), "a colour of no label counts as the foreground"


SQUARE = np.zeros((1, 8, 8), int)
SQUARE[0, 2:6, 2:6] = 1


@pytest.mark.parametrize(("contour", "count"), [(0, 0), (1, 12), (2, 16)])
def test_outlines_are_the_inner_border_of_a_part(contour: int, count: int) -> None:
    drawn = pictures.overlay(np.zeros((1, 8, 8, 3), np.uint8), SQUARE, alpha=0, contour=contour)
    border = drawn.any(axis=-1)
    assert border.sum() == count and not border[SQUARE == 0].any() and (contour > 1 or not border[0, 3:5, 3:5].any())


def test_an_overlay_leaves_the_background_and_blends_the_parts():
    images = np.full((1, 8, 8, 3), 100, np.uint8)
    drawn, colour = pictures.overlay(images, SQUARE, alpha=0.25, contour=1), pictures.COLOURS[1]
    assert (drawn[SQUARE == 0] == 100).all()
    np.testing.assert_allclose(drawn[0, 3, 3], 0.75 * 100 + 0.25 * colour, atol=1)
    np.testing.assert_array_equal(drawn[0, 2, 2], colour)
    assert (images == 100).all(), "the images themselves are not painted on"
    with pytest.raises(IndexError):
        pictures.overlay(np.zeros((2, 8, 8, 3), np.uint8), SQUARE)


def test_a_sheet_puts_columns_beside_and_rows_and_blocks_below_each_other():
    first = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 5, 3), np.uint8)
    made = np.asarray(pictures.sheet({"first": first, "second": first + 100}))[pictures.HEAD :]
    assert made.shape == (2 * (2 * 10 + 8) - 3 * 4, 5 * 9 - 4, 4)
    assert [made[0, 9 * i, 0] for i in range(5)] == [0, 1, 2, 3, 4]
    assert [made[10, 9 * i, 0] for i in range(5)] == [100, 101, 102, 103, 104]
    assert made[28, 0, 0] == 5
    assert made[0, 5, 3] == 0, "gaps are transparent"


@pytest.mark.parametrize(("count", "with_truth"), [(3, True), (11, True), (12, False)])
def test_a_sheet_is_read_back_as_it_was_drawn(tmp_path, count, with_truth):
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.full((1, 48, 48, 3), 20, np.uint8)
    labels = np.arange(count * 48 * 48).reshape(count, 48, 48) % 12
    truth = np.where(labels > 9, 255, labels > 4) if with_truth else None
    path = pictures.sample_sheet(images, labels, tmp_path / "new" / "s.png", truth)
    assert [p.name for p in path.parent.iterdir()] == ["s.png"], "it is written whole"
    rows = [row[:, ::3, ::3] for row in pictures.read_sheet(path)]
    assert len(rows) == 3 + with_truth
    np.testing.assert_array_equal(rows[0], images)
    np.testing.assert_array_equal(pictures.labels_of(rows[1]), labels)
    np.testing.assert_array_equal(rows[2], pictures.overlay(images, labels, contour=0))
    if with_truth:
        np.testing.assert_array_equal(pictures.labels_of(rows[3]), truth)
        assert (rows[3][truth == 1] == (0xF4, 0xF1, 0xEA)).all()


def test_a_sheet_of_data_has_a_row_for_images_and_one_for_each_kind_of_label(tmp_path):
    images = np.zeros((3, 32, 32, 3), np.uint8)
    pictures.data_sheet(Split(images, ("a", "b", "c")), tmp_path / "bare.png")
    assert Image.open(tmp_path / "bare.png").size == (3 * 196 - 4, 24 + 192)
    labels, marks = np.ones((3, 32, 32), np.uint8), np.full((3, 2, 2), 20.0)
    marks[:, 0], marks[2] = (8.0, 24.0), 4.0  # (x, y)
    known = {"foreground": labels, "keypoints": marks, "visible": np.array([[True] * 2] * 2 + [[False] * 2])}
    pictures.data_sheet(Split(images, ("a", "b", "c"), **known), tmp_path / "all.png")
    sheet, colours = np.asarray(Image.open(tmp_path / "all.png"))[24:, :, :3], pictures.COLOURS[:3]
    assert len(sheet) == 3 * 196 - 4
    np.testing.assert_array_equal(sheet[196, 0], np.rint(0.55 * colours[1]))
    keypoints = sheet[2 * 196 :]
    np.testing.assert_array_equal(keypoints[[147, 123], [51, 123]], colours[1:])
    assert not keypoints[:, 2 * 196 :].any() and not images.any()


def test_a_truth_of_the_foreground_alone_has_no_colour_of_a_part() -> None:
    painted = pictures.colour_truth(np.array([[0, 1, 255]]))
    np.testing.assert_array_equal(painted[:, [0, 2]], pictures.colour_labels(np.array([[0, 255]])))
    assert tuple(painted[0, 1]) not in set(map(tuple, pictures.COLOURS))


def test_a_true_part_has_the_colour_of_the_found_part_that_it_shares_most_with_one_to_one() -> None:
    truth, found = np.array([[0, 1, 1, 2, 2, 3, 255]]), np.array([[0, 2, 2, 2, 1, 0, 1]])
    expected = np.array([[0, 2, 2, 1, 1, 3, 255]])
    np.testing.assert_array_equal(pictures.colour_truth(truth, found), pictures.colour_labels(expected))
