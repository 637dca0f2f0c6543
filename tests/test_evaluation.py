"""Protocols by name, held to hand-computed values and to the released code's results."""

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganseg import evaluation, metrics, tables
from ganseg.config import Config
from ganseg.data import DATASETS, DataSet, Listing, Sample, Split
from ganseg.devices import make_fabric
from ganseg.evaluation import Protocol
from ganseg.files import UserError
from ganseg.pictures import colour_labels
from ganseg.titles import TITLES

pytestmark = pytest.mark.usefixtures("cache")
SIZE, FACE = 32, ("left eye", "right eye", "nose")
RED, GREEN = (255, 0, 0), (0, 255, 0)


class ByColour(nn.Module):
    """Finds part 1 in red pixels and part 2 in green ones, without error."""

    def probabilities(self, images: Tensor) -> Tensor:
        found = (images[:, :2] > 0).float()  # (B, 2, S, S)
        return torch.cat([1 - found.sum(dim=1, keepdim=True), found], dim=1)


def faces(numbers: np.ndarray) -> dict[str, np.ndarray]:
    """16 x 8 px rectangles, red on the left and green on the right, the eyes 6 px apart, in random places."""
    parts = np.zeros((len(numbers), SIZE, SIZE), np.uint8)
    images = np.zeros((*parts.shape, 3), np.uint8)
    corners = np.stack([np.random.default_rng(n).integers(0, (17, 25)) for n in numbers])  # (N, 2), x and y
    for image, part, (x, y) in zip(images, parts, corners, strict=True):
        image[y : y + 8, x : x + 8], image[y : y + 8, x + 8 : x + 16] = RED, GREEN
        part[y : y + 8, x : x + 8], part[y : y + 8, x + 8 : x + 16] = 1, 2
    keypoints = (corners[:, None] + np.array([(5, 2), (11, 2), (8, 6)])).astype(np.float32)
    labels = {"parts": parts, "foreground": (parts > 0).astype(np.uint8), "keypoints": keypoints}
    return {"images": images, **labels, "visible": np.ones(keypoints.shape[:2], bool)}


SPLITS = {"train": range(60), "regression": range(40, 100), "test": range(90, 120)}


def draw_faces(hidden: tuple[str, ...] = ()) -> Listing:
    def draw(names: list[str], size: int) -> Iterator[dict[str, np.ndarray]]:
        drawn = faces(np.array([int(name.removesuffix(".jpg")) for name in names]))
        for i in range(len(names)):
            yield {key: value[i] for key, value in drawn.items() if key not in hidden}

    splits = {split: [Sample(f"{n}.jpg") for n in numbers] for split, numbers in SPLITS.items()}
    return Listing(splits, draw=draw, drawing=("faces", hidden), part_names=("left", "right"), keypoint_names=FACE)


def register(monkeypatch: pytest.MonkeyPatch, **changes: object) -> DataSet:
    """The data set "faces"; `changes` of its entry."""
    entry = {"list": draw_faces, "splits": tuple(SPLITS), "regression": "regression", "normaliser": "inter-ocular"}
    data = dataclasses.replace(DATASETS["synthetic-face"], name="faces", **entry | changes)
    monkeypatch.setitem(DATASETS, "faces", data)
    monkeypatch.setattr(evaluation, "EQUIVARIANCE_IMAGES", 4)
    return data


BLOCKS = {"generator.block_sizes": (16, SIZE), "generator.block_widths": (8, 8)}
CONFIG = Config().replace({"data.name": "faces", "data.size": SIZE, "generator.parts": 2} | BLOCKS)


def measure(**options: str) -> dict:
    return evaluation.evaluate(CONFIG, ByColour(), make_fabric("cpu"), None, Protocol.of("faces")._replace(**options))


def a_split(keypoints: np.ndarray, size: int, **fields: object) -> Split:
    images = np.zeros((len(keypoints), size, size, 3), np.uint8)
    return Split(images, tuple(f"{i}" for i in range(len(keypoints))), keypoints=keypoints, **fields)


# Protocols


def test_flowers_are_scored_on_more_images_where_there_are_trimaps_only(tmp_path):
    assert Protocol.of("flowers", tmp_path).split == "test+val"
    (tmp_path / "segmim").mkdir()
    assert Protocol.of("flowers", tmp_path).split == "test"


# Held to the released code


def regressed(golden: dict[str, np.ndarray], name: str, normaliser: str, scale: float = 1, **fields) -> dict:
    """Landmark scores of golden keypoints, missing where -1; images are `scale` times as large as theirs."""
    given = []
    for split in ("train", "test"):
        keypoints = golden[f"{name}/{split}_keypoints"]
        size, visible = round(scale * (256 if name == "taichi" else 128)), (keypoints != -1).all(axis=-1)
        centres = golden[f"{name}/{split}_centres"]
        given += [a_split((keypoints + 0.5) * scale - 0.5, size, visible=visible, **fields), centres * scale]
    return evaluation.landmarks(*given, normaliser)


def test_table_1_is_the_released_codes(golden_metrics):
    values = regressed(golden_metrics, "mafl", "inter-ocular", keypoint_names=FACE[:2])
    assert values["landmark_error"] == pytest.approx(float(golden_metrics["mafl/expected_error"]), rel=1e-4)
    assert values["landmark_error_affine"] != values["landmark_error"]


@pytest.mark.parametrize("scale", [1, 1 / 2])
def test_table_3_is_the_released_codes_whatever_the_size_of_the_images(golden_metrics, scale):
    values = regressed(golden_metrics, "taichi", "taichi", scale)
    assert values["taichi_mae"] == pytest.approx(float(golden_metrics["taichi/expected_error"]), rel=1e-4)
    assert values["taichi_mae_l2"] < values["taichi_mae"]
    assert "landmark_error" not in values


def test_table_2_is_the_released_codes(golden_metrics):
    given = golden_metrics["iou/prediction"], golden_metrics["iou/truth"]
    values, expected = evaluation.coverage(*given), golden_metrics["iou/expected_per_image"]
    np.testing.assert_allclose(metrics.iou_per_image(*given), expected, rtol=1e-4)
    assert values["iou"] == pytest.approx(float(expected.mean()), rel=1e-4)
    one = metrics.mean_iou(*given, empty=1.0)
    assert one == pytest.approx(values["iou"] + 1 / values["iou_images"])  # image 0 is empty


# By hand


MASKS = np.zeros((3, 2, 2), np.uint8)
MASKS[0, 0] = MASKS[1] = 1  # two pixels, four, none


def test_iou_by_hand_in_every_convention():
    labels = np.zeros_like(MASKS)
    labels[0, 0, 0] = 3
    values = evaluation.coverage(labels, MASKS)
    assert values["iou"] == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert values["iou_dataset"] == pytest.approx(1 / 6)
    assert values["iou_oracle"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert metrics.mean_iou(labels, MASKS, empty=np.nan) == pytest.approx((1 / 2 + 0) / 2)


def test_images_without_any_label_do_not_count():
    truth = np.concatenate([MASKS, np.full((1, 2, 2), 255, np.uint8)])
    assert evaluation.coverage(np.zeros_like(truth), truth)["iou_images"] == 3
    assert evaluation.coverage(MASKS, np.full_like(MASKS, 255)) == {}


def test_the_mean_predictor_of_taichi_and_the_sizes_of_objects_by_hand():
    masks = np.zeros((3, 128, 128), np.uint8)
    masks[0, 2, 1] = masks[0, 6, 4] = masks[1, 3, 3] = 1
    masks[1, 0] = 255
    train, test = a_split(np.zeros((4, 2, 2)), 128), a_split(np.full((3, 2, 2), (3.0, 4.0)), 128, foreground=masks)
    values = evaluation.landmarks(train, np.zeros((4, 1, 2)), test, np.zeros((3, 1, 2)), "object")
    assert values["taichi_mae_mean"] == pytest.approx(2 * (6 + 8))  # in pixels of 256
    assert values["taichi_mae_l2_mean"] == pytest.approx(2 * 10)
    np.testing.assert_allclose(evaluation.normalisers(test)["object"], np.sqrt([5 * 4, 1, 1]))  # of their boxes


# A whole evaluation


def test_a_perfect_network_is_scored_perfect_in_everything(monkeypatch):
    register(monkeypatch)
    values = measure()
    assert values["iou"] == values["iou_dataset"] == values["iou_oracle"] == 1
    assert values["nmi_all"] == values["ari_foreground"] == 1
    assert values["landmark_error_affine"] == pytest.approx(0, abs=1e-6)
    assert values["taichi_mae"] == pytest.approx(0, abs=1e-4)
    assert values["equivariance_error"] == 0
    assert values.keys() <= TITLES.keys()
    assert (values["test_images"], values["regression_images"]) == (30, 50)  # of 60, ten are test images
    lengths = {"mean": 6, "edge_mean": SIZE, "object_mean": np.sqrt(16 * 8)}  # of eyes, edge, box
    pixels = [values[f"landmark_error_{name}"] * length for name, length in lengths.items()]
    np.testing.assert_allclose(pixels, pixels[0], rtol=1e-4)


def test_another_split_is_scored_where_it_is_asked_for(monkeypatch):
    register(monkeypatch)
    assert measure(split="train")["test_images"] == 60
    with pytest.raises(UserError, match="has no split 'val'"):
        measure(split="val")
    with pytest.raises(UserError, match="all images of split regression are among those that are scored"):
        measure(split="regression")


@pytest.mark.parametrize(
    ("hidden", "absent", "said"),
    [
        ("foreground", "iou", "no foreground masks: IoU is"),
        ("foreground", "landmark_error", "nothing shows the length to divide it by"),
        ("parts", "nmi_all", "no part masks: NMI and ARI over pixels are"),
        ("keypoints visible", "landmark_error_edge", "no keypoints: NMI and ARI at keypoints are"),
    ],
)
def test_what_has_no_labels_is_absent_and_said_and_leaves_the_rest(monkeypatch, hidden, absent, said):
    register(monkeypatch, list=lambda: draw_faces(tuple(hidden.split())))
    values, protocol = measure(normaliser="object"), Protocol.of("faces")._replace(normaliser="object")
    assert absent not in values and "equivariance_error" in values
    assert any(sentence.startswith(said) for sentence in evaluation.unmeasured(values, protocol))


@pytest.mark.parametrize(("origin", "name"), [("released", ""), ("centred", "_centred"), ("affine", "_affine")])
def test_predicted_keypoints_are_those_that_the_error_is_measured_on(monkeypatch, origin, name):
    register(monkeypatch)
    _, points = tables.held_out_keypoints(SimpleNamespace(config=CONFIG, segmenter=ByColour), count=99, origin=origin)
    distance = np.hypot(points["x"] - points["x_predicted"], points["y"] - points["y_predicted"])
    assert len(points) == 30 * len(FACE)
    assert distance.mean() / 6 == pytest.approx(measure()[f"landmark_error{name}"], abs=1e-3)


@pytest.mark.parametrize("allowed", [True, False])
def test_photographs_that_may_not_be_passed_on_are_replaced_by_their_parts(monkeypatch, allowed):
    register(monkeypatch, redistributable=allowed)
    shown, points = tables.held_out_keypoints(SimpleNamespace(config=CONFIG, segmenter=ByColour), count=2)
    photographs = faces(np.asarray(SPLITS["test"])[[0, len(SPLITS["test"]) // 2]])["images"]
    assert np.array_equal(shown, photographs) == allowed and len(points) == 2 * len(FACE)
    assert {tuple(c) for c in shown.reshape(-1, 3)} <= {tuple(c) for c in colour_labels(np.arange(3))} or allowed


# What becomes of hidden parts, and of front and back


def test_a_found_part_lingers_where_it_shows_in_images_that_hide_the_true_one_it_stands_for() -> None:
    truth = np.zeros((4, 20, 20), np.uint8)
    truth[:, :10], truth[:2, 10:] = 1, 2  # two images hide part 2
    stays, goes = np.where(truth == 1, 3, 1), np.where(truth == 1, 3, np.where(truth == 2, 1, 0))
    assert evaluation.lingering(stays.astype(np.uint8), truth) == {"lingering_parts": 1.0}
    assert evaluation.lingering(goes.astype(np.uint8), truth) == {"lingering_parts": 0.0}
    one = np.concatenate([stays[:3], goes[3:]]).astype(np.uint8)
    assert evaluation.lingering(one, truth) == {"lingering_parts": 0.5}
    assert evaluation.lingering(goes.astype(np.uint8)[:2], truth[:2]) == {}  # nothing is hidden
    assert evaluation.lingering(np.zeros_like(truth), truth) == {}  # nothing was found


def test_ends_are_exchanged_where_they_fit_better_so() -> None:
    true = np.array([[[2.0, 5.0], [16.0, 5.0]]] * 4)  # beak and tail
    test = a_split(true, 20, keypoint_names=("beak", "tail"), visible=np.array([[True, True]] * 3 + [[True, False]]))
    marks = np.stack([true[0], true[0, ::-1], true[0] + 1, true[0, ::-1]])
    assert evaluation.swapped(marks, test) == {"swapped_ends": pytest.approx(1 / 3)}
    assert evaluation.swapped(marks, dataclasses.replace(test, keypoint_names=("left eye", "right eye"))) == {}
