"""Colours of parts, overlays and contact sheets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from ganseg import pictures
from ganseg.data import Split
from ganseg.files import UserError

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


def lightness(linear: np.ndarray) -> np.ndarray:
    """(K,) L* of CIELAB, 0 to 100."""
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(luminance) - 16


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_every_part_is_lighter_than_the_background(blindness):
    values = lightness(seen(pictures.part_colours(12), blindness))
    assert values[1:].min() > values[0] + 4


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_the_first_eight_parts_differ_for_every_kind_of_colour_vision(blindness):
    colours = np.cbrt(seen(pictures.part_colours(8), blindness))
    closest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2))
    assert closest > 0.1


def test_the_colours_do_not_repeat_and_do_not_depend_on_the_number_of_parts():
    many = pictures.part_colours(60)
    assert len(np.unique(many, axis=0)) == 61
    np.testing.assert_array_equal(pictures.part_colours(5), many[:6])


def test_labels_become_the_colours_of_their_parts():
    labels = np.array([[[0, 1], [2, 255]]])
    coloured = pictures.colour_labels(labels)
    assert coloured.shape == (1, 2, 2, 3)
    assert coloured.dtype == np.uint8
    np.testing.assert_array_equal(coloured[0, 0, 1], pictures.part_colours(1)[1])
    assert len(np.unique(coloured.reshape(-1, 3), axis=0)) == 4


def test_labels_without_a_colour_are_refused():
    with pytest.raises(UserError, match="-1 to 0"):
        pictures.colour_labels(np.array([[[-1, 0]]]))


def square(size: int = 8) -> np.ndarray:
    """A label map (1, S, S) whose part 1 is a square of 4 x 4 pixels."""
    labels = np.zeros((1, size, size), int)
    labels[0, 2:6, 2:6] = 1
    return labels


def test_outlines_are_the_inner_border_of_a_part():
    border = pictures.outlines(square())
    assert border.sum() == 12
    assert not border[0, 3:5, 3:5].any()
    assert not border[square() == 0].any()
    assert pictures.outlines(square(), width=2).sum() == 16


def test_an_overlay_leaves_the_background_and_blends_the_parts():
    images = np.full((1, 8, 8, 3), 100, np.uint8)
    drawn = pictures.overlay(images, square(), alpha=0.5, contour=1)
    colour = pictures.part_colours(1)[1]
    assert (drawn[square() == 0] == 100).all()
    np.testing.assert_allclose(drawn[0, 3, 3], (100.0 + colour) / 2, atol=1)
    np.testing.assert_array_equal(drawn[0, 2, 2], colour)
    assert (images == 100).all(), "the images themselves are not painted on"


def test_an_overlay_refuses_labels_of_other_images():
    with pytest.raises(UserError, match=r"\(1, 8, 8\)"):
        pictures.overlay(np.zeros((2, 8, 8, 3), np.uint8), square())


def test_a_sheet_puts_columns_beside_and_rows_and_blocks_below_each_other():
    first = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 5, 3), np.uint8)
    made = np.asarray(pictures.sheet({"first": first, "second": first + 100}))[pictures.HEAD :]
    assert made.shape == (2 * (2 * 10 + 8) - 3 * 4, 5 * 9 - 4, 4)
    assert [made[0, 9 * i, 0] for i in range(5)] == [0, 1, 2, 3, 4]
    assert [made[10, 9 * i, 0] for i in range(5)] == [100, 101, 102, 103, 104]
    assert made[28, 0, 0] == 5
    assert made[0, 5, 3] == 0, "gaps are transparent"


def test_sheets_are_enlarged_and_written_whole(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3)).astype(np.uint8)
    labels = np.zeros((3, 48, 48), np.int64)
    labels[:, 10:20, 10:20] = 2
    path = pictures.sample_sheet(images, labels, tmp_path / "new" / "samples.png")
    sheet = Image.open(path)
    assert sheet.width == 3 * (144 + pictures.GAP) - pictures.GAP
    assert [p.name for p in path.parent.iterdir()] == ["samples.png"]


@pytest.mark.parametrize(("with_truth", "rows"), [(False, 3), (True, 4)])
def test_a_segmentation_sheet_has_a_row_of_truth_where_there_is_one(tmp_path, with_truth, rows):
    labels = np.zeros((2, 32, 32), np.uint8)
    truth = np.full((2, 32, 32), 255, np.uint8)
    truth[:, :16], truth[:, :4] = 1, 0
    images = np.zeros((2, 32, 32, 3), np.uint8)
    path = pictures.segmentation_sheet(images, labels, truth if with_truth else None, tmp_path / "s.png")
    sheet = np.asarray(Image.open(path))
    assert sheet.shape[0] == 24 + rows * (128 + pictures.GAP) - pictures.GAP
    if with_truth:
        colours = np.unique(sheet[-128:, :128, :3].reshape(-1, 3), axis=0)
        assert len(colours) == 3
        assert [255, 255, 255] in colours.tolist()


def test_a_sheet_of_data_has_a_row_for_images_and_one_for_each_kind_of_label(tmp_path):
    images = np.zeros((3, 32, 32, 3), np.uint8)
    pictures.data_sheet(Split(images, ("a", "b", "c")), tmp_path / "bare.png")
    assert Image.open(tmp_path / "bare.png").size == (3 * 196 - 4, 24 + 192)
    labels, marks = np.zeros((3, 32, 32), np.uint8), np.full((3, 2, 2), 8.0)
    labels[:, 8:16, 8:16], marks[:, 1] = 1, 20.0
    pictures.data_sheet(Split(images, ("a", "b", "c"), foreground=labels, keypoints=marks), tmp_path / "all.png")
    sheet = np.asarray(Image.open(tmp_path / "all.png"))[24:]
    assert sheet.shape[0] == 3 * 196 - 4
    np.testing.assert_array_equal(sheet[196 + 48, 48, :3], pictures.part_colours(1)[1])
    np.testing.assert_array_equal(sheet[2 * 196 + 123, 123, :3], pictures.part_colours(2)[2])


def test_keypoints_are_drawn_at_their_place_in_their_colour_and_only_if_visible():
    black = np.zeros((1, 60, 90, 3), np.uint8)
    points = np.array([[[20.0, 40.0], [70.0, 10.0], [45.0, 30.0]]])
    drawn = pictures.draw_keypoints(black, points, np.array([[True, True, False]]))[0]
    np.testing.assert_array_equal(drawn[[40, 10], [20, 70]], pictures.part_colours(3)[1:3])
    assert not drawn[25:36, 40:51].any() and not black.any()
