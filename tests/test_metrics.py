"""Metrics, held to hand-computed values, to scikit-learn, and to the released code's results."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from ganseg import metrics
from ganseg.files import UserError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Boxes


def test_boxes_stand_in_for_masks_and_an_average_box_stands_beside():
    boxes = np.array([[0, 0, 4, 4], [2, 4, 6, 8]], np.float32)
    labels = np.zeros((2, 8, 8), np.uint8)
    labels[0, 1:3, 0:4], labels[0, 7, 7] = 1, 2  # 8 pixels in one piece, and one elsewhere
    scores = metrics.box_scores(labels, boxes)  # the average box: 1 to 5 and 2 to 6
    average = (6 / (16 + 16 - 6) + 6 / (16 + 16 - 6)) / 2
    expected = {"box_iou": (8 / 16 + 0) / 2, "box_iou_constant": average, "box_share": 8 / 9}
    assert scores == pytest.approx(expected | {"box_share_constant": 12 / 32})
    empty = metrics.box_scores(np.zeros_like(labels), boxes)
    assert empty["box_iou"] == empty["box_share"] == 0 and empty["box_iou_constant"] == pytest.approx(average)
    assert metrics.box_masks(np.array([[0.6, 0, 2.5, 1]]), (2, 3)).tolist() == [[[False, True, False], [False] * 3]]


# Part centres and landmarks


def test_centres_agree_with_the_released_code(golden_metrics):
    probabilities = golden_metrics["centres/part_probabilities"]
    unit = metrics.part_centres(probabilities) / ((np.array(probabilities.shape[:1:-1]) - 1) / 2)  # 0 to 2
    np.testing.assert_allclose(64 * unit[..., ::-1], golden_metrics["centres/expected"], rtol=1e-4)


def test_a_centre_weighs_pixels_by_probability_and_is_x_y_or_the_middle_of_the_image():
    probabilities = np.zeros((1, 3, 5, 9), dtype=np.float32)
    probabilities[0, 0, 1, 6] = 0.3
    probabilities[0, 1, 2, 0], probabilities[0, 1, 2, 4] = 0.25, 0.75
    np.testing.assert_allclose(metrics.part_centres(probabilities), [[[6, 1], [3, 2], [4, 2]]])


@pytest.mark.parametrize(
    ("origin", "move"),
    [("released", lambda c: 0.5 * c), ("centred", lambda c: 31.5 + 0.5 * (c - 31.5)), ("affine", lambda c: 2 * c + 7)],
)
def test_each_origin_is_exact_for_its_own_maps(rng, origin, move):
    centres = rng.uniform(0, 63, (40, 2, 2))
    for name in ("released", "centred", "affine"):
        predicted = metrics.predict_landmarks(centres, move(centres), centres, origin=name, size=64)
        if name in (origin, "affine"):
            np.testing.assert_allclose(predicted, move(centres), atol=1e-9)
        else:
            assert np.abs(predicted - move(centres)).max() > 1


def test_invisible_training_landmarks_do_not_touch_the_fit_and_unseen_ones_are_nan(rng):
    centres = rng.uniform(0, 64, (20, 3, 2))
    landmarks, visible = centres.copy(), np.ones((20, 3), dtype=bool)
    landmarks[3, 1], visible[3, 1], visible[:, 2] = [1e6, -1e6], False, False
    predicted = metrics.predict_landmarks(centres, landmarks, centres, visible=visible)
    np.testing.assert_allclose(predicted[:, :2], centres[:, :2], atol=1e-6)
    assert np.isnan(predicted[:, 2]).all()


TRUTH = np.array([[[1.0, 0], [2, 0]], [[3, 5], [3, 6]], [[2, 1], [4, 2]]])
PREDICTED = TRUTH - np.array([0, 1, 0])[:, None, None] * [3, 4]  # 5 px off in the second image
FEW = np.array([[True, True], [True, False], [True, True]])
IMAGES, MASK = np.zeros((2, 16, 16, 3), np.uint8), np.zeros((1, 2, 2), np.uint8)


@pytest.mark.parametrize(
    ("normaliser", "visible", "error"),
    [(1.0, None, 5 / 3), (10, None, 0.5 / 3), (np.array([1, 2.5, 1]), None, 2 / 3), (1.0, FEW, 1.0)],
)
def test_error_is_the_mean_distance_over_the_normaliser_by_hand(normaliser, visible, error):
    assert metrics.landmark_error(PREDICTED, TRUTH, normaliser, visible) == pytest.approx(error)
    without = np.where(np.arange(2)[:, None] == 1, np.nan, PREDICTED)  # no prediction of landmark 1
    assert metrics.landmark_error(without, TRUTH, 1.0, visible) == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (lambda: metrics.landmark_error(PREDICTED, TRUTH, np.array([1.0, 0.0, 1.0])), "test image 1 has normaliser 0"),
        (lambda: metrics.mean_iou(np.zeros((1, 2, 2)), np.zeros((1, 4, 4))), "shape"),
        (lambda: metrics.nmi_ari(MASK, MASK, over="fg"), "'foreground', 'both' or 'all'"),
        (lambda: metrics.equivariance_error(fixed, IMAGES[:, :8, :8], [(8, 0)]), "leaves nothing to compare"),
    ],
)
def test_what_cannot_be_measured_is_refused(measure, said):
    with pytest.raises(UserError, match=said):
        measure()


def test_taichi_by_hand_in_both_distances():
    predicted = np.broadcast_to([[1.0, 0], [10, 10], [np.nan] * 2], (2, 3, 2))
    truth = np.array([[[4.0, 4], [10, 11], [5, 5]], [[1.0, 0], [-1, -1], [5, 5]]])
    visible = np.array([[True] * 3, [True, False, True]])
    assert metrics.taichi_mae(predicted, truth, "l1", visible) == pytest.approx(1.5 + 2 + 0 + 1)
    assert metrics.taichi_mae(predicted, truth, "l2", visible) == pytest.approx(2.5 + 1)
    assert metrics.taichi_mae(predicted, truth) == pytest.approx(1.5 + 2 + 11 / 2 + 12 / 2)


# IoU


def test_iou_by_hand_and_ignored_pixels():
    prediction = np.array([[[3, 1, 0, 0]], [[1, 1, 1, 1]]])
    truth = np.array([[[1, 0, 1, 0]], [[1, 255, 255, 0]]])
    np.testing.assert_allclose(metrics.iou_per_image(prediction, truth), [1 / 3, 1 / 2])
    assert metrics.mean_iou(prediction, truth) == pytest.approx(5 / 12)
    assert metrics.dataset_iou(prediction, truth) == pytest.approx(2 / 5)


def test_the_constant_mask_is_the_best_threshold_with_ties_undecided_pixels_and_empty_images(rng):
    for _ in range(50):
        truth = rng.choice(np.array([0, 1, 255], np.uint8), (4, 2, 3), p=(0.5, 0.3, 0.2))
        truth[0] = np.where(truth[0] == 1, 0, truth[0])  # an image without an object
        known = truth != 255
        frequency = ((truth == 1) & known).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        masks = [np.broadcast_to(frequency >= level, truth.shape) for level in np.unique(frequency)]
        mask, iou = metrics.best_constant_mask(truth)
        assert iou == pytest.approx(max(metrics.mean_iou(one, truth) for one in masks))
        assert any((mask == one[0]).all() for one in masks)


def test_the_oracle_takes_the_complement_only_where_it_is_better():
    truth = np.array([[[1, 1, 1, 0]], [[1, 0, 0, 0]], [[1, 255, 255, 0]]])
    prediction = np.array([[[0, 0, 0, 2]], [[1, 1, 0, 0]], [[0, 1, 1, 1]]])
    expected = [[[1, 1, 1, 0]], [[1, 1, 0, 0]], [[1, 0, 0, 0]]]
    np.testing.assert_array_equal(metrics.better_side(prediction, truth), expected)


# NMI and ARI


@pytest.mark.parametrize("over", ["foreground", "both", "all"])
def test_nmi_and_ari_are_scikit_learns_of_the_pixels_that_count(rng, over):
    truth = rng.integers(0, 5, (6, 20, 20)).astype(np.uint8)
    noise = rng.integers(0, 7, truth.shape).astype(np.uint8)
    prediction = np.where(rng.random(truth.shape) < 0.6, truth, noise)
    truth[:, :3] = 255
    keep = truth != 255
    keep &= {"foreground": truth > 0, "both": (truth > 0) & (prediction > 0), "all": True}[over]
    expected = [score(truth[keep], prediction[keep]) for score in (normalized_mutual_info_score, adjusted_rand_score)]
    np.testing.assert_allclose(metrics.nmi_ari(prediction, truth, over), expected, rtol=1e-10)
    assert metrics.nmi_ari(prediction, np.full_like(truth, 255), over) == (0.0, 0.0)


def test_keypoints_are_read_as_x_y_and_at_the_border_outside():
    labels = np.zeros((1, 4, 8), dtype=np.uint8)
    labels[0, 1, 6], labels[0, 0, 7], labels[0, 3, 0], labels[0, 3, 7] = 1, 2, 3, 4
    keypoints = np.array([[[6.2, 0.9], [9, -2], [-3.0, 5], [7.6, 3.4], [0, 0], [6, 1]]])
    visible = np.array([[True] * 5 + [False]])
    assert metrics.keypoint_nmi_ari(labels, keypoints, visible) == (1, 1)
    assert metrics.keypoint_nmi_ari(labels, keypoints, np.ones_like(visible))[0] < 1
    assert metrics.keypoint_nmi_ari(labels, keypoints, visible & False) == (0, 0)


# Parts


def labels_with_two_blobs():
    """Of 1,000 px each, so that 2 px count. Image 0: part 1 in two blobs of 4 and 9 px and a speck of 1 px; part 2 in
    one. Image 1: part 2, and part 3 of 2 px."""
    labels = np.zeros((2, 25, 40), dtype=np.uint8)
    labels[0, 0:2, 0:2] = labels[0, 5:8, 5:8] = labels[0, 15, 15] = 1
    labels[0, 10:14, 0:5] = labels[1, 0:10, 0:10] = 2
    labels[1, 20, 0:2] = 3
    return labels


def test_usage_areas_and_foreground_by_hand():
    labels = labels_with_two_blobs()
    np.testing.assert_allclose(metrics.part_usage(labels, 4), [0.5, 1, 0.5, 0])
    np.testing.assert_allclose(metrics.part_areas(labels, 3), np.array([[14, 20, 0], [0, 100, 2]]) / 1000)
    assert metrics.foreground_fraction(labels) == pytest.approx(136 / 2000)
    assert metrics.foreground_fraction(np.where(labels == 2, 255, labels)) == pytest.approx(16 / 1880)


def test_components_leave_out_specks_and_invisible_parts():
    labels = labels_with_two_blobs()
    assert metrics.components_per_part(labels, 4) == pytest.approx((2 + 1 + 1 + 1) / 4)
    assert metrics.components_per_part(labels[1:], 4) == 1
    assert np.isnan(metrics.components_per_part(np.zeros_like(labels), 4))


def test_what_published_numbers_were_measured_with_is_as_it_was():
    labels = np.zeros((1, 32, 32), int)
    labels[0, 0, :2], labels[0, 5, :3] = 1, 2
    np.testing.assert_array_equal(metrics.part_usage(labels, 2), [0, 1])
    assert set(metrics.SHIFTS) == {(4, 0), (-4, 0), (0, 4), (0, -4)}


def test_components_touch_at_corners_and_never_across_images():
    labels = np.zeros((2, 4, 4), int)
    labels[0, [0, 1, 2], [0, 1, 2]] = 1  # one component
    labels[1, 0, 0] = labels[1, 3, 3] = 1  # two, the first of them in the place of the other image's
    assert metrics.components_per_part(labels, 1) == pytest.approx((1 + 2) / 2)


# Equivariance


def brightness_parts(images):
    return (images[..., 0] > 128).astype(np.int64) + (images[..., 1] > 128)


def fixed(images):
    """The same 4 x 4 square in every image."""
    labels = np.zeros(images.shape[:3], dtype=np.int64)
    labels[:, 4:8, 4:8] = 1
    return labels


def test_a_pixelwise_predictor_follows_shifts_exactly(rng):
    images = rng.integers(0, 256, (3, 16, 20, 3), dtype=np.uint8)
    assert metrics.equivariance_error(brightness_parts, images, (*metrics.SHIFTS, (3, 0), (-2, 5))) == 0
    assert metrics.equivariance_error(brightness_parts, images, labels=np.zeros(images.shape[:3], int)) == 1


def test_the_equivariance_error_is_over_all_parts_that_either_side_shows():
    images = np.zeros((1, 1, 5, 3), np.uint8)
    before, after = (np.array([[row]]) for row in ([1, 1, 3, 0, 0], [1, 0, 3, 2, 2]))
    for one, other in ((before, after), (after, before)):
        error = metrics.equivariance_error(lambda _, other=other: other, images, [(0, 0)], labels=one)
        assert error == pytest.approx(1 - (1 / 2 + 0 + 1) / 3)
    nothing = np.zeros_like(before)
    assert metrics.equivariance_error(lambda _: nothing, images, [(0, 0)], labels=nothing) == 0


def test_an_image_moves_right_and_down_and_repeats_its_edge():
    images, seen = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1) * np.ones(3, np.uint8), []
    metrics.equivariance_error(lambda batch: seen.append(batch) or brightness_parts(batch), images, [(2, 3)])
    np.testing.assert_array_equal(seen[1][:, 3:, 2:], images[:, :5, :6])
    assert (seen[1][:, :4, :3] == images[:, 0, 0]).all()
