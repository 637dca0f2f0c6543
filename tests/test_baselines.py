"""Baselines: what each finds on scenes of known answer, and that a second call finds the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import Tensor

from book import execute
from ganseg import baselines, pictures
from ganseg.config import SegmenterConfig
from ganseg.data import Split, describe, load
from ganseg.evaluation import batches
from ganseg.files import UserError
from ganseg.metrics import mean_iou, nmi_ari
from ganseg.protocols import Protocol

SIZE = 32
SMALL = SegmenterConfig(backbone="resnet18-light", output_stride=4)


@pytest.fixture(scope="module")
def split() -> Split:
    """Red over blue, a square of two parts at a random place on noisy green; nothing at the border."""
    random = np.random.default_rng(0)
    images = np.full((12, SIZE, SIZE, 3), (40, 150, 60), np.uint8)
    parts = np.zeros(images.shape[:3], np.uint8)
    for image, labels in zip(images, parts, strict=True):
        x, y = random.integers(4, SIZE - 12, 2)
        labels[y : y + 4, x : x + 8], labels[y + 4 : y + 8, x : x + 8] = 1, 2
        image[labels == 1], image[labels == 2] = (220, 40, 40), (40, 60, 230)
    images = np.clip(images + random.normal(0, 6, images.shape), 0, 255).astype(np.uint8)
    names = tuple(f"scene {i}" for i in range(len(images)))
    return Split(images, names, foreground=(parts > 0).astype(np.uint8), parts=parts)


def test_grabcut_finds_an_object_of_other_colours_image_by_image(split: Split) -> None:
    found = baselines.grabcut(split.images)
    assert found.dtype == np.uint8 and set(np.unique(found)) == {0, 1}
    assert mean_iou(found, split.foreground) > 0.9
    np.testing.assert_array_equal(baselines.grabcut(split.images[3:4]), found[3:4])


def test_grabcut_calls_its_frame_background(split: Split) -> None:
    found, frame = baselines.grabcut(split.images, border=1 / 4), np.ones((SIZE, SIZE), bool)
    frame[8:-8, 8:-8] = False
    assert not found[:, frame].any() and found.any() and split.foreground[:, frame].any()


def test_constant_mask_is_one_mask_for_all_and_skips_images_without_labels() -> None:
    truth = np.zeros((3, 8, 8), np.uint8)
    truth[:2, 2:4, 2:4], truth[2] = 1, 255
    mask = baselines.constant_mask(truth, 5)
    assert mask.shape == (5, 8, 8) and (mask == truth[0]).all()


def colours(images: Tensor) -> Tensor:
    """(B, 3, 16, 16), as a network would give them."""
    return (images[..., ::2, ::2] + 1) / 2


def test_kmeans_and_factorisation_tell_parts_and_name_them_alike_in_all_images(split: Split) -> None:
    for find, accurate in (
        (lambda: baselines.kmeans(split.images, parts=2, position=0.0), 0.95),
        (lambda: baselines.deep_feature_factorisation(split.images, 2, colours), 0.6),
    ):
        found = find()
        assert found.shape == split.parts.shape and found.dtype == np.uint8
        assert mean_iou(found, split.foreground) > accurate and nmi_ari(found, split.parts, "both")[1] > 0.8
        np.testing.assert_array_equal(found, find())


def test_background_is_what_is_more_frequent_at_the_border() -> None:
    clusters = np.full((2, 6, 6), 2)
    clusters[:, 2:4, 2:3], clusters[:, 2:4, 3:4] = 0, 1
    labels = baselines.background_first(clusters, 4)  # cluster 3 does not occur
    np.testing.assert_array_equal(labels == 0, clusters == 2)
    assert set(labels[clusters == 0]) != set(labels[clusters == 1])
    one = baselines.background_first(np.arange(36).reshape(1, 6, 6) % 2, 2)
    assert set(np.unique(one)) == {0, 1}  # never all background, never none


def test_random_network_has_features_without_negatives_and_leaves_the_seed_alone(split: Split) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (baselines.network_features(baselines.random_network(SMALL, 3)) for _ in range(2))
    assert (torch.get_rng_state() == before).all()
    (images,) = batches(split.images[:2], torch.device("cpu"))
    one, two = (features(images).detach() for features in (first, second))
    assert one.shape == (2, 128, 8, 8) and one.min() >= 0 and one.std() > 0 and (one == two).all()


def test_imagenet_weights_are_not_fetched_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(baselines.DOWNLOADS, raising=False)
    with pytest.raises(UserError, match="GANSEG_ALLOW_DOWNLOADS=1"):
        baselines.imagenet_features()


def test_segment_all_names_what_each_needs_and_scores_what_the_labels_allow(split: Split) -> None:
    found = baselines.segment_all(split, 2, SMALL, baselines.random_network(SMALL, 2, seed=1))
    assert list(found) == ["Best constant mask", "GrabCut", "k-means", "Factorisation, random network",
                           "Factorisation, our network"]  # fmt: skip
    for one in found.values():
        scores = baselines.scores(one.labels, split, one.parts, Protocol.of("synthetic-bird"))
        assert one.labels.shape == split.parts.shape and one.labels.max() <= one.parts and one.needs
        assert 0 <= scores["iou"] <= scores["iou_oracle"] <= 1
        assert ("nmi_foreground" in scores) == (one.parts > 1)


def test_without_true_masks_there_is_no_constant_mask(split: Split) -> None:
    bare = Split(split.images, split.names)
    found = baselines.segment_all(bare, 2, SMALL)
    assert "Best constant mask" not in found and "Factorisation, our network" not in found
    scores = baselines.scores(found["k-means"].labels, bare, 2, Protocol.of("cub"))
    assert set(scores) == {"components_per_part"}


@pytest.mark.parametrize(("data", "shown"), [("cub", False), ("flowers", True)])
def test_photographs_that_may_not_be_passed_on_are_not_drawn_beside_their_parts(
    split: Split, data: str, shown: bool
) -> None:
    """By the function of the page that draws them (Fig. 8)."""
    page = execute.read(ROOT / "notebooks" / "12_qualitative.ipynb")
    (source,) = [cell.source for cell in page.cells if "def comparison_rows" in cell.source]
    names = {"test": split, "few": [0, 1], "name": data, "found": {"a": baselines.Baseline(split.parts, 2, "nothing")}}
    names |= {"describe": describe, "colour_labels": pictures.colour_labels, "overlay": pictures.overlay}
    exec(source, names)
    rows = names["comparison_rows"]()
    assert list(rows) == ["image"] * shown + ["a", "truth"]
    assert (len(np.unique(rows["a"].reshape(-1, 3), axis=0)) > 3) == shown  # more colours than those of labels


@pytest.mark.parametrize(("data", "fails"), [("synthetic-bird", False), ("synthetic-camouflage", True)])
def test_colour_alone_finds_drawn_birds_but_not_camouflaged_ones(data: str, fails: bool) -> None:
    split = load(data, "val", 48, limit=30)
    images, truth = np.asarray(split.images), np.asarray(split.foreground)
    grabcut, kmeans = (mean_iou(found, truth) for found in (baselines.grabcut(images), baselines.kmeans(images, 6)))
    assert (grabcut < 0.45) == fails and kmeans < 0.45
