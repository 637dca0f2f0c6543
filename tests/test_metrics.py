"""Metrics, held to hand-computed values, to scikit-learn, and to the released code's results."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from ganseg import metrics
from ganseg.files import UserError


@pytest.fixture(scope="module")
def golden(shared):
    return load_file(shared / "golden" / "metrics.safetensors")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def regression(golden, name):
    parts = ("train_centres", "train_keypoints", "test_centres", "test_keypoints")
    return [golden[f"{name}/{part}"] for part in parts]


# Held to the released code


def test_centres_agree_with_the_released_code(golden):
    unit = metrics.part_centres(golden["centres/part_probabilities"], units="unit")
    np.testing.assert_allclose(64 * (1 + unit)[..., ::-1], golden["centres/expected"], rtol=1e-4)


def test_released_landmark_error_is_without_bias_from_the_top_left_corner(golden):
    error = metrics.landmark_regression(*regression(golden, "mafl"), normaliser="inter-ocular")
    assert error == pytest.approx(float(golden["mafl/expected_error"]), rel=1e-4)


def test_other_origins_give_another_landmark_error(golden):
    data, expected = regression(golden, "mafl"), float(golden["mafl/expected_error"])
    for origin in ("centred", "affine"):
        error = metrics.landmark_regression(*data, normaliser="inter-ocular", origin=origin, size=128)
        assert error != pytest.approx(expected, rel=1e-4)


def test_taichi_mae_agrees_with_the_released_code(golden):
    error = metrics.taichi_mae(*regression(golden, "taichi"))
    assert error == pytest.approx(float(golden["taichi/expected_error"]), rel=1e-4)


def test_iou_agrees_with_the_released_code(golden):
    iou = metrics.iou_per_image(golden["iou/prediction"], golden["iou/truth"])
    np.testing.assert_allclose(iou, golden["iou/expected_per_image"], rtol=1e-4)
    assert iou[0] == 0  # both empty


# Part centres


def test_centre_of_one_pixel_is_that_pixel_as_x_y():
    probabilities = np.zeros((1, 1, 5, 9))
    probabilities[0, 0, 1, 6] = 0.3
    np.testing.assert_allclose(metrics.part_centres(probabilities), [[[6, 1]]])
    np.testing.assert_allclose(metrics.part_centres(probabilities, units="unit"), [[[0.5, -0.5]]])


def test_centre_weighs_pixels_by_probability():
    probabilities = np.zeros((1, 1, 4, 4), dtype=np.float32)
    probabilities[0, 0, 2, 0], probabilities[0, 0, 2, 3] = 0.25, 0.75
    np.testing.assert_allclose(metrics.part_centres(probabilities), [[[2.25, 2]]])


def test_a_part_without_mass_is_at_the_centre_of_the_image():
    np.testing.assert_array_equal(metrics.part_centres(np.zeros((1, 1, 4, 8))), [[[3.5, 1.5]]])
    np.testing.assert_array_equal(metrics.part_centres(np.zeros((1, 1, 4, 8)), units="unit"), [[[0, 0]]])


# Landmark regression


def test_a_linear_map_of_the_centres_is_regressed_without_error(rng):
    centres, matrix = rng.uniform(0, 64, (30, 3, 2)), rng.normal(size=(6, 4))
    landmarks = (centres.reshape(30, 6) @ matrix).reshape(30, 2, 2)
    error = metrics.landmark_regression(centres, landmarks, centres, landmarks, normaliser=1.0)
    assert error == pytest.approx(0, abs=1e-9)


def test_a_constant_offset_needs_the_bias(rng):
    centres = rng.uniform(0, 64, (40, 1, 2))
    landmarks = centres + [10.0, -5.0]
    arguments = (centres, landmarks, centres, landmarks)
    affine = metrics.landmark_regression(*arguments, normaliser=1.0, origin="affine")
    assert affine == pytest.approx(0, abs=1e-9)
    assert metrics.landmark_regression(*arguments, normaliser=1.0) > 1


def test_centred_origin_is_exact_for_a_scaling_about_the_image_centre(rng):
    centres = rng.uniform(0, 63, (40, 1, 2))
    landmarks = 31.5 + 0.5 * (centres - 31.5)
    arguments = (centres, landmarks, centres, landmarks)
    centred = metrics.landmark_regression(*arguments, normaliser=1.0, origin="centred", size=64)
    assert centred == pytest.approx(0, abs=1e-9)
    assert metrics.landmark_regression(*arguments, normaliser=1.0) > 1


def off_by_3_4():
    """One part, two landmarks; the second test image is off by (3, 4) = 5 px at both landmarks."""
    centres = np.array([[[1.0, 0]], [[0, 1.0]], [[2.0, 1]]])
    landmarks = np.concatenate([centres, 2 * centres], axis=1)
    moved = landmarks.copy()
    moved[1] += [3, 4]
    return centres, landmarks, centres, moved


def test_error_is_the_mean_distance_over_the_normaliser_by_hand():
    assert metrics.landmark_regression(*off_by_3_4(), normaliser=1.0) == pytest.approx(5 / 3)
    assert metrics.landmark_regression(*off_by_3_4(), normaliser="edge", size=10) == pytest.approx(0.5 / 3)
    lengths = np.array([1.0, 2.5, 1.0])
    assert metrics.landmark_regression(*off_by_3_4(), normaliser=lengths) == pytest.approx(2 / 3)
    # landmarks 0 and 1 of the moved image are at (3, 5) and (3, 6): inter-ocular distance 1
    assert metrics.landmark_regression(*off_by_3_4(), normaliser="inter-ocular") == pytest.approx(5 / 3)


def test_invisible_test_landmarks_are_left_out():
    visible = np.array([[True, True], [True, False], [True, True]])
    error, each = metrics.landmark_regression(*off_by_3_4(), normaliser=1.0, test_visible=visible, per_landmark=True)
    assert error == pytest.approx(1.0)  # five visible landmarks, one of them 5 px off
    np.testing.assert_allclose(each, [5 / 3, 0], atol=1e-9)


def test_invisible_training_landmarks_do_not_touch_the_fit(rng):
    centres = rng.uniform(0, 64, (20, 2, 2))
    landmarks = centres.copy()
    landmarks[3, 1] = [1e6, -1e6]
    visible = np.ones((20, 2), dtype=bool)
    visible[3, 1] = False
    predicted = metrics.predict_landmarks(centres, landmarks, centres, train_visible=visible)
    np.testing.assert_allclose(predicted, centres, atol=1e-6)


def test_a_landmark_never_seen_in_training_is_nan_and_left_out():
    visible = np.array([[True, False]] * 3)
    error, each = metrics.landmark_regression(*off_by_3_4(), normaliser=1.0, train_visible=visible, per_landmark=True)
    assert error == pytest.approx(5 / 3)
    assert np.isnan(each[1])


def test_mean_predictor_by_hand():
    train = np.array([[[0.0, 0]], [[2.0, 0]]])
    test = np.array([[[1.0, 3]], [[1.0, 1]]])
    assert metrics.mean_predictor_error(train, test, normaliser=2.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normaliser": "eyes"}, "inter-ocular"),
        ({"normaliser": 1.0, "origin": "corner"}, "centred"),
        ({"normaliser": 1.0, "origin": "centred"}, "size=128"),
        ({"normaliser": "edge"}, "size=128"),
        ({"normaliser": np.array([1.0, 0.0, 1.0])}, "test image 1"),
        ({"normaliser": 1.0, "test_visible": np.zeros((3, 2), dtype=bool)}, "no landmark is visible"),
        ({"normaliser": 1.0, "test_visible": np.ones((2, 2), dtype=bool)}, "expected"),
    ],
)
def test_mistakes_in_the_regression_name_what_would_be_right(arguments, message):
    with pytest.raises(UserError, match=message):
        metrics.landmark_regression(*off_by_3_4(), **arguments)


# Taichi


def test_taichi_mean_predictor_by_hand_in_both_distances():
    # the training means are (1, 0) and, with one missing, (10, 10)
    train = np.array([[[0.0, 0], [10, 10]], [[2.0, 0], [-1, -1]]])
    test = np.array([[[4.0, 4], [10, 11]], [[1.0, 0], [-1, -1]]])
    no_centres = np.zeros((2, 0, 2))
    assert metrics.taichi_mae(no_centres, train, no_centres, test) == pytest.approx(1.5 + 2 + 0 + 1)
    assert metrics.taichi_mae(no_centres, train, no_centres, test, distance="l2") == pytest.approx(2.5 + 1)


def test_taichi_regression_has_a_bias(rng):
    centres = rng.uniform(0, 64, (30, 2, 2))
    assert metrics.taichi_mae(centres, centres + 7, centres, centres + 7) == pytest.approx(0, abs=1e-9)


# IoU


def test_iou_by_hand_and_ignored_pixels():
    prediction = np.array([[[3, 1, 0, 0]], [[1, 1, 1, 1]]])
    truth = np.array([[[1, 0, 1, 0]], [[1, 255, 255, 0]]])
    np.testing.assert_allclose(metrics.iou_per_image(prediction, truth), [1 / 3, 1 / 2])
    np.testing.assert_allclose(metrics.iou_per_image(prediction, truth, ignore=None), [1 / 3, 3 / 4])
    assert metrics.mean_iou(prediction, truth) == pytest.approx(5 / 12)
    assert metrics.dataset_iou(prediction, truth) == pytest.approx(2 / 5)


def test_an_empty_pair_scores_what_is_asked_for():
    nothing = np.zeros((1, 2, 2), dtype=np.uint8)
    assert metrics.mean_iou(nothing, nothing) == 0
    assert metrics.mean_iou(nothing, nothing, empty=1.0) == 1
    both = np.concatenate([nothing, nothing + 1])
    assert metrics.mean_iou(both, both, empty=float("nan")) == 1


def test_iou_refuses_masks_of_different_sizes():
    with pytest.raises(UserError, match="shape"):
        metrics.mean_iou(np.zeros((1, 2, 2)), np.zeros((1, 4, 4)))


def test_best_constant_mask_beats_every_threshold_of_the_mean(rng):
    y, x = np.mgrid[:16, :16]
    centres, radii = rng.normal(8, 1.5, (50, 2)), rng.uniform(3, 6, 50)
    masks = np.stack([(x - c[0]) ** 2 + (y - c[1]) ** 2 < r**2 for c, r in zip(centres, radii, strict=True)])
    truth = masks.astype(np.uint8)
    truth[:, 0] = 255
    mask, iou = metrics.best_constant_mask(truth)
    assert iou == pytest.approx(metrics.mean_iou(np.broadcast_to(mask, truth.shape), truth))
    mean = np.where(np.arange(16)[:, None] == 0, 0, masks.mean(axis=0))
    thresholds = np.linspace(0, 0.95, 96)
    others = [metrics.mean_iou(np.broadcast_to(mean > t, truth.shape), truth) for t in thresholds]
    assert iou == pytest.approx(max(others)) and iou > others[0] + 0.05


def test_best_constant_mask_is_scored_on_the_masks_asked_for():
    chosen_on = np.array([[[1, 1, 0, 0]]], dtype=np.uint8)
    mask, iou = metrics.best_constant_mask(chosen_on, np.array([[[0, 1, 1, 0]]], dtype=np.uint8))
    np.testing.assert_array_equal(mask, [[True, True, False, False]])
    assert iou == pytest.approx(1 / 3)


# NMI and ARI


@pytest.mark.parametrize("over", ["foreground", "both", "all"])
def test_nmi_and_ari_equal_scikit_learn(rng, over):
    truth = rng.integers(0, 5, (6, 20, 20)).astype(np.uint8)
    noise = rng.integers(0, 7, truth.shape).astype(np.uint8)
    prediction = np.where(rng.random(truth.shape) < 0.6, truth, noise)
    truth[:, :3] = 255
    keep = truth != 255
    keep &= {"foreground": truth > 0, "both": (truth > 0) & (prediction > 0), "all": True}[over]
    scores = normalized_mutual_info_score, adjusted_rand_score
    expected = [score(truth[keep], prediction[keep]) for score in scores]
    np.testing.assert_allclose(metrics.nmi_ari(prediction, truth, over), expected, rtol=1e-10)


def test_renamed_parts_are_a_perfect_score_and_one_part_for_all_is_none():
    truth = np.array([[[0, 1, 1, 2, 3]]])
    assert metrics.nmi_ari(np.array([[[0, 3, 3, 1, 2]]]), truth) == pytest.approx((1, 1))
    assert metrics.nmi_ari(np.array([[[0, 1, 1, 1, 1]]]), truth) == pytest.approx((0, 0))


def test_predicting_only_background_leaves_nothing_to_compare():
    truth = np.array([[[1, 1, 2, 2]]])
    assert metrics.nmi_ari(np.zeros_like(truth), truth, over="both") == (0.0, 0.0)


def test_a_misspelt_pixel_choice_is_refused():
    with pytest.raises(UserError, match="'foreground', 'both' or 'all'"):
        metrics.nmi_ari(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), over="fg")


# Parts


def labels_with_two_blobs():
    """Image 0: part 1 in two blobs of 4 and 9 px and a speck of 1 px; part 2 in one. Image 1: part 2 only."""
    labels = np.zeros((2, 20, 20), dtype=np.uint8)
    labels[0, 0:2, 0:2] = labels[0, 5:8, 5:8] = labels[0, 15, 15] = 1
    labels[0, 10:14, 0:5] = labels[1, 0:10, 0:10] = 2
    return labels


def test_usage_areas_and_foreground_by_hand():
    labels = labels_with_two_blobs()
    np.testing.assert_allclose(metrics.part_usage(labels, 3), [0.5, 1, 0])
    np.testing.assert_allclose(metrics.part_usage(labels, 3, minimum_area=0.04), [0, 1, 0])
    np.testing.assert_allclose(metrics.part_areas(labels, 3), [14 / 800, 120 / 800, 0])
    assert metrics.foreground_fraction(labels) == pytest.approx(134 / 800)


def test_components_leave_out_specks_and_invisible_parts():
    labels = labels_with_two_blobs()
    assert metrics.components_per_part(labels, 3, minimum_area=0.005) == pytest.approx((2 + 1 + 1) / 3)
    assert metrics.components_per_part(labels, 3, minimum_area=0) == pytest.approx((3 + 1 + 1) / 3)
    assert np.isnan(metrics.components_per_part(np.zeros_like(labels), 3))


def test_components_do_not_join_across_images_and_join_at_corners():
    labels = np.zeros((2, 4, 4), dtype=np.uint8)
    labels[:, 1, 1] = labels[:, 2, 2] = 1
    assert metrics.components_per_part(labels, 1) == 1


# Equivariance


def brightness_parts(images):
    return (images[..., 0] > 128).astype(np.int64) + (images[..., 1] > 128)


def test_a_pixelwise_predictor_is_equivariant(rng):
    images = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    assert metrics.equivariance_error(brightness_parts, images, shifts=[(3, 0), (-2, 5)]) == 0
    one_hot = lambda x: np.stack([brightness_parts(x) == k for k in (1, 2)], axis=1)
    assert metrics.equivariance_error(one_hot, images, measure="centres") == pytest.approx(0, abs=1e-12)


def test_a_predictor_that_ignores_the_image_is_not_equivariant():
    def fixed(images):
        labels = np.zeros(images.shape[:3], dtype=np.int64)
        labels[:, 4:8, 4:8] = 1
        return labels

    images = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    # shifted by one column, the 4 x 4 squares share 12 of 20 pixels
    assert metrics.equivariance_error(fixed, images, shifts=[(1, 0)]) == pytest.approx(1 - 12 / 20)
    distance = metrics.equivariance_error(lambda x: fixed(x)[:, None], images, [(1, 0)], measure="centres")
    assert distance == pytest.approx(1.0)


def test_a_shift_as_large_as_the_image_is_refused():
    with pytest.raises(UserError, match="leaves nothing to compare"):
        metrics.equivariance_error(brightness_parts, np.zeros((1, 8, 8, 3), dtype=np.uint8), shifts=[(8, 0)])


def test_turns_and_scalings_move_a_pixelwise_prediction_along():
    images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    images[:, 6:20, 4:18, 0] = 255  # off the centre
    assert metrics.affine_equivariance_error(brightness_parts, images) < 0.1
    quarter = metrics.affine_equivariance_error(brightness_parts, images, [(90, 1.0)])
    assert quarter == pytest.approx(0, abs=1e-6)


def test_an_image_turns_clockwise():
    images = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    images[0, 0, 0] = 200  # a quarter to the right brings the top-left corner to the top right
    seen = []

    def watch(batch):
        seen.append(batch)
        return brightness_parts(batch)

    metrics.affine_equivariance_error(watch, images, [(90, 1.0)])
    assert seen[1][0, 0, 7].tolist() == [200, 200, 200]


def test_a_fixed_prediction_does_not_turn_along():
    fixed = lambda images: np.pad(np.ones((len(images), 4, 16), int), ((0, 0), (2, 10), (0, 0)))
    images = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    assert metrics.affine_equivariance_error(fixed, images, [(90, 1.0)]) > 0.5


# The oracle, and keypoints


def test_the_oracle_takes_the_complement_only_where_it_is_better():
    truth = np.array([[[1, 1, 1, 0]], [[1, 0, 0, 0]], [[1, 255, 255, 0]]])
    prediction = np.array([[[0, 0, 0, 2]], [[1, 1, 0, 0]], [[0, 1, 1, 1]]])
    expected = [[[1, 1, 1, 0]], [[1, 1, 0, 0]], [[1, 0, 0, 0]]]
    np.testing.assert_array_equal(metrics.better_side(prediction, truth), expected)
    better = metrics.better_side(prediction, truth)
    assert metrics.mean_iou(better, truth) == pytest.approx((1 + 1 / 2 + 1) / 3)


def test_keypoint_agreement_equals_scikit_learns(rng):
    labels = rng.integers(0, 4, (20, 16, 16))
    keypoints = rng.uniform(0, 15, (20, 5, 2))
    visible = rng.random((20, 5)) < 0.7
    at = np.rint(keypoints).astype(int)
    found = labels[np.arange(20)[:, None], at[..., 1], at[..., 0]][visible]
    identity = np.broadcast_to(np.arange(5), (20, 5))[visible]
    nmi, ari = metrics.keypoint_nmi_ari(labels, keypoints, visible)
    assert nmi == pytest.approx(normalized_mutual_info_score(identity, found))
    assert ari == pytest.approx(adjusted_rand_score(identity, found))


def test_keypoints_are_read_as_x_y_and_at_the_border_outside():
    labels = np.zeros((1, 4, 8), dtype=np.uint8)
    labels[0, 1, 6], labels[0, 3, 7] = 1, 2
    keypoints = np.array([[[6.2, 0.9], [7.6, 3.4], [0, 0]]])
    assert metrics.keypoint_nmi_ari(labels, keypoints) == (1, 1)
    assert metrics.keypoint_nmi_ari(labels, keypoints, np.zeros((1, 3), bool)) == (0, 0)
