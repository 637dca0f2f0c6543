"""Protocols: each convention by name, held to hand-computed values and to the released code's results."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from ganseg import evaluation, plots, protocols, tables
from ganseg.config import Config
from ganseg.data import DATASETS, DataSet, Source, Split
from ganseg.devices import make_fabric
from ganseg.files import UserError
from ganseg.pictures import colour_labels
from ganseg.protocols import Protocol

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


def draw_faces(split: str, hidden: tuple[str, ...] = ()) -> Source:
    numbers = np.array(SPLITS[split])

    def read(positions: np.ndarray, size: int) -> tuple[dict[str, np.ndarray], dict[int, str]]:
        return {key: value for key, value in faces(numbers[positions]).items() if key not in hidden}, {}

    names = tuple(f"{n}.jpg" for n in numbers)
    return Source(names, ("faces", hidden), read, part_names=("left", "right"), keypoint_names=FACE)


def register(monkeypatch: pytest.MonkeyPatch, **changes: object) -> DataSet:
    """The data set "faces"; `changes` of its entry."""
    entry = {"draw": draw_faces, "splits": tuple(SPLITS), "name": "faces",
             "regression": "regression", "normaliser": "inter-ocular"}  # fmt: skip
    spec = dataclasses.replace(DATASETS["synthetic-face"], **entry | changes)
    monkeypatch.setitem(DATASETS, "faces", spec)
    monkeypatch.setattr(evaluation, "EQUIVARIANCE_IMAGES", 4)
    return spec


BLOCKS = {"generator.block_sizes": (16, SIZE), "generator.block_widths": (8, 8)}
CONFIG = Config().replace({"data.name": "faces", "data.size": SIZE, "generator.parts": 2} | BLOCKS)


def measure(tmp_path: Path, **options: str) -> dict:
    protocol = Protocol.of("faces").changed(**options)
    return evaluation.evaluate(CONFIG, ByColour(), make_fabric("cpu"), None, protocol, tmp_path / "cache")


def a_split(keypoints: np.ndarray, size: int, **fields: object) -> Split:
    images = np.zeros((len(keypoints), size, size, 3), np.uint8)
    return Split(images, tuple(f"{i}" for i in range(len(keypoints))), keypoints=keypoints, **fields)


# Defaults


@pytest.mark.parametrize(
    ("data", "regression", "normaliser"),
    [
        ("celeba-wild", "regression", "inter-ocular"),
        ("celeba-aligned", "regression", "inter-ocular"),
        ("cub", "train", "edge"),
        ("taichi", "regression", "taichi"),
        ("synthetic-bird", "train", "object"),
    ],
)
def test_the_papers_protocol_of_each_data_set(data, regression, normaliser):
    protocol = Protocol.of(data)
    assert (protocol.split, protocol.regression, protocol.normaliser) == ("test", regression, normaliser)
    assert (protocol.origin, protocol.iou, protocol.empty) == ("released", "image", "zero")
    assert (protocol.taichi, protocol.oracle) == ("l1", "none")


def test_flowers_are_scored_on_more_images_where_there_are_trimaps_only(tmp_path):
    assert Protocol.of("flowers", tmp_path).split == "test+val"
    (tmp_path / "segmim").mkdir()
    assert Protocol.of("flowers", tmp_path).split == "test"


@pytest.mark.parametrize("name", ["normaliser", "origin", "taichi", "iou", "empty", "oracle"])
def test_an_unknown_convention_is_refused_with_the_known_ones(name):
    known = protocols.CHOICES[name]
    with pytest.raises(UserError, match=f"{name} is 'other'; it is one of {', '.join(known)}"):
        Protocol().changed(**{name: "other"})


def test_differences_name_what_was_changed():
    assert Protocol().changed(origin="affine", iou=None).differences(Protocol()) == {"origin": "affine"}


# Held to the released code


@pytest.fixture(scope="module")
def golden(shared):
    return load_file(shared / "golden" / "metrics.safetensors")


def test_table_1_is_the_released_codes(golden):
    given = []
    for name in ("train", "test"):
        split = a_split(golden[f"mafl/{name}_keypoints"], 128, keypoint_names=FACE[:2])
        given += [split, golden[f"mafl/{name}_centres"]]
    values = protocols.landmarks(*given, Protocol(normaliser="inter-ocular"))
    assert values["landmark_error"] == pytest.approx(float(golden["mafl/expected_error"]), rel=1e-4)
    affine = protocols.landmarks(*given, Protocol(normaliser="inter-ocular", origin="affine"))
    assert affine["landmark_error_released"] == values["landmark_error"]
    assert affine["landmark_error"] == values["landmark_error_affine"] != values["landmark_error"]


@pytest.mark.parametrize("size", [256, 128])
def test_table_3_is_the_released_codes_whatever_the_size_of_the_images(golden, size):
    given = []
    for name in ("train", "test"):
        frame = golden[f"taichi/{name}_keypoints"]  # pixels of 256 px frames, missing: -1
        visible = (frame != -1).all(axis=-1)
        split = a_split((frame + 0.5) * size / 256 - 0.5, size, visible=visible)
        given += [split, golden[f"taichi/{name}_centres"] / 3]
    values = protocols.landmarks(*given, Protocol(normaliser="taichi"))
    assert values["taichi_mae"] == pytest.approx(float(golden["taichi/expected_error"]), rel=1e-4)
    assert values["taichi_mae_l2"] < values["taichi_mae"]
    assert "landmark_error" not in values


def test_table_2_is_the_released_codes(golden):
    values = protocols.coverage(golden["iou/prediction"], golden["iou/truth"], Protocol())
    assert values["iou"] == pytest.approx(float(golden["iou/expected_per_image"].mean()), rel=1e-4)
    one = protocols.coverage(golden["iou/prediction"], golden["iou/truth"], Protocol(empty="one"))
    assert one["iou"] == pytest.approx(values["iou"] + 1 / values["iou_images"])  # image 0 is empty


# By hand


MASKS = np.zeros((3, 2, 2), np.uint8)
MASKS[0, 0] = MASKS[1] = 1  # two pixels, four, none


@pytest.mark.parametrize(
    ("options", "iou"),
    [
        ({}, (1 / 2 + 0 + 0) / 3),
        ({"empty": "one"}, (1 / 2 + 0 + 1) / 3),
        ({"empty": "skip"}, (1 / 2 + 0) / 2),
        ({"iou": "dataset"}, 1 / 6),
        ({"oracle": "max"}, (1 / 2 + 1 + 0) / 3),
        ({"oracle": "max", "iou": "dataset"}, 5 / 6),
    ],
)
def test_iou_by_hand_in_every_convention(options, iou):
    labels = np.zeros_like(MASKS)
    labels[0, 0, 0] = 3
    values = protocols.coverage(labels, MASKS, Protocol(**options))
    assert values["iou"] == pytest.approx(iou)
    flipped = protocols.coverage(labels, MASKS, Protocol(**options).changed(iou="dataset"))
    assert values.get("iou_dataset", values["iou"]) == flipped["iou"]
    assert values.get("iou_oracle", values["iou"]) >= values["iou"]


def test_images_without_any_label_do_not_count():
    truth = np.concatenate([MASKS, np.full((1, 2, 2), 255, np.uint8)])
    assert protocols.coverage(np.zeros_like(truth), truth, Protocol())["iou_images"] == 3
    assert protocols.coverage(MASKS, np.full_like(MASKS, 255), Protocol()) == {}


def test_frames_have_256_pixels_whose_centres_are_integers():
    split = a_split(np.array([[[0.0, 127.0], [9.0, 9.0]]]), 128, visible=np.array([[True, False]]))
    np.testing.assert_allclose(protocols.frame_keypoints(split), [[[0.5, 254.5], [-1, -1]]])


def test_the_mean_predictor_of_taichi_by_hand():
    train, test = a_split(np.zeros((4, 2, 2)), 256), a_split(np.full((3, 2, 2), (3.0, 4.0)), 256)
    values = protocols.taichi(train, np.zeros((4, 1, 2)), test, np.zeros((3, 1, 2)), Protocol())
    assert values["taichi_mae_mean"] == pytest.approx(2 * (3 + 4))
    assert values["taichi_mae_l2_mean"] == pytest.approx(2 * 5)


# A whole evaluation


def test_a_perfect_network_is_scored_perfect_in_everything(tmp_path, monkeypatch):
    register(monkeypatch)
    values = measure(tmp_path)
    assert values["iou"] == values["iou_dataset"] == values["iou_oracle"] == 1
    assert values["nmi_all"] == values["ari_foreground"] == 1
    assert values["landmark_error_affine"] == pytest.approx(0, abs=1e-6)
    assert values["taichi_mae"] == pytest.approx(0, abs=1e-4)
    assert values["equivariance_error"] == 0
    assert values["test_images"] == 30


def test_normalisers_differ_by_the_lengths_that_they_stand_for(tmp_path, monkeypatch):
    register(monkeypatch)
    values = measure(tmp_path, origin="centred")
    eyes, edge, box = 6, SIZE, np.sqrt(16 * 8)
    lengths = {"mean": eyes, "edge_mean": edge, "object_mean": box}
    pixels = [values[f"landmark_error_{name}"] * length for name, length in lengths.items()]
    np.testing.assert_allclose(pixels, pixels[0], rtol=1e-4)


def test_regressions_leave_out_the_images_that_are_scored(tmp_path, monkeypatch):
    register(monkeypatch)
    assert measure(tmp_path)["regression_images"] == 50  # of 60, ten are test images
    with pytest.raises(UserError, match="all images of split regression are among those that are scored"):
        measure(tmp_path, split="regression")


def test_another_split_is_scored_where_it_is_asked_for(tmp_path, monkeypatch):
    register(monkeypatch)
    assert measure(tmp_path, split="train")["test_images"] == 60
    with pytest.raises(UserError, match="has no split 'val'"):
        measure(tmp_path, split="val")


@pytest.mark.parametrize(
    ("hidden", "absent", "said"),
    [
        (("foreground",), "iou", "no foreground masks: IoU is not measured"),
        (("parts",), "nmi_all", "no part masks"),
        (("keypoints", "visible"), "landmark_error", "no keypoints"),
    ],
)
def test_what_has_no_labels_is_absent_and_said(tmp_path, monkeypatch, hidden, absent, said):
    register(monkeypatch, draw=lambda split: draw_faces(split, hidden))
    values = measure(tmp_path)
    assert absent not in values
    assert any(sentence.startswith(said) for sentence in evaluation.unmeasured(values, Protocol.of("faces")))


def test_a_normaliser_without_its_labels_leaves_the_others(tmp_path, monkeypatch):
    register(monkeypatch, draw=lambda split: draw_faces(split, ("foreground",)))
    values = measure(tmp_path, normaliser="object")
    assert "landmark_error" not in values
    assert values["landmark_error_edge"] < values["landmark_error_edge_mean"]
    said = evaluation.unmeasured(values, Protocol(normaliser="object"))
    assert "no foreground masks: the landmark error with normaliser object is not measured" in said


@pytest.mark.parametrize("origin", ["released", "centred", "affine"])
def test_predicted_keypoints_are_those_that_the_error_is_measured_on(tmp_path, monkeypatch, origin):
    register(monkeypatch)
    protocol = Protocol.of("faces").changed(origin=origin)
    given = (CONFIG, ByColour(), make_fabric("cpu"), None, protocol, tmp_path / "cache")
    test, predicted = evaluation.regress_keypoints(*given)
    distance = np.linalg.norm(predicted - test.keypoints, axis=-1).mean()
    assert distance / 6 == pytest.approx(evaluation.evaluate(*given)["landmark_error"], abs=1e-5)


# Figures


def test_errors_by_origin_stand_beside_the_mean_predictors():
    values = {"landmark_error": 0.1, "landmark_error_centred": 0.2, "landmark_error_affine": 0.3}
    run = SimpleNamespace(metrics=values | {"landmark_error_mean": 0.5}, provenance={"seed": 4})
    errors = tables.errors_by_convention([run])
    assert errors[errors["predictor"] == "part centres"]["error"].tolist() == pytest.approx([10, 20, 30])
    assert errors[errors["predictor"] == "average keypoints"]["error"].tolist() == [50.0] * 3
    assert len(plots.conventions_figure(errors, "%").axes[0].containers) == 2


@pytest.mark.parametrize("allowed", [True, False])
def test_photographs_that_may_not_be_passed_on_are_replaced_by_their_parts(tmp_path, monkeypatch, allowed):
    monkeypatch.setenv("GANSEG_CACHE", str(tmp_path))
    register(monkeypatch, redistributable=allowed)
    images, points = tables.held_out_keypoints(SimpleNamespace(config=CONFIG, segmenter=ByColour), count=2)
    photographs = faces(np.asarray(SPLITS["test"])[[0, len(SPLITS["test"]) // 2]])["images"]
    assert np.array_equal(images, photographs) == allowed and len(points) == 2 * len(FACE)
    assert {tuple(c) for c in images.reshape(-1, 3)} <= {tuple(c) for c in colour_labels(np.arange(3))} or allowed
