"""Baselines: what each finds on scenes of known answer, and that a second call finds the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import Tensor

from book import execute
from ganseg import baselines, pictures
from ganseg.config import SegmenterConfig
from ganseg.data import Split, describe, load
from ganseg.metrics import mean_iou, nmi_ari
from ganseg.segmenter import Segmenter

SIZE = 32
SMALL = SegmenterConfig(backbone="resnet18-light", output_stride=4)
RANDOM = "Factorisation, random network"


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


def test_segment_all_names_what_each_needs_and_scores_what_the_labels_allow(split: Split) -> None:
    torch.manual_seed(5)
    segmenter = Segmenter(SMALL, 2)
    before = torch.get_rng_state()
    first = baselines.segment_all(split, 2, SMALL, segmenter)[RANDOM].labels
    assert (torch.get_rng_state() == before).all(), "the seed of others is left alone"
    found = baselines.segment_all(split, 2, SMALL, segmenter)
    assert (found[RANDOM].labels == first).all(), "the random network is always the same"
    assert list(found) == ["Best constant mask", "GrabCut", "k-means", RANDOM, "Factorisation, our network"]
    for one in found.values():
        scores = baselines.scores(one.labels, split, one.parts)
        assert one.labels.shape == split.parts.shape and one.labels.max() <= one.parts and one.needs
        assert 0 <= scores["iou"] <= scores["iou_oracle"] <= 1
        assert ("nmi_foreground" in scores) == (one.parts > 1)


def test_the_constant_mask_leaves_out_images_without_labels_and_needs_some(split: Split) -> None:
    truth = np.full_like(split.foreground, 255)
    truth[:2], truth[:2, 2:4, 2:4] = 0, 1
    given = (2, SMALL, Segmenter(SMALL, 2))
    mask = baselines.segment_all(replace(split, foreground=truth), *given)["Best constant mask"].labels
    assert mask.shape == truth.shape and (mask == truth[0]).all()
    bare = Split(split.images, split.names)
    found = baselines.segment_all(bare, *given)
    assert "Best constant mask" not in found and "Factorisation, our network" in found
    assert set(baselines.scores(found["k-means"].labels, bare, 2)) == {"components_per_part"}


@pytest.mark.parametrize(("data", "shown"), [("cub", False), ("flowers", True)])
def test_photographs_that_may_not_be_passed_on_are_not_drawn_beside_their_parts(split, data, shown):
    """By the function of the page that draws them (Fig. 8)."""
    page = execute.read(ROOT / "notebooks" / "12_qualitative.ipynb")
    (source,) = [cell.source for cell in page.cells if "def comparison_rows" in cell.source]
    names = {"test": split, "few": [0, 1], "name": data, "found": {}}
    names["found"] = dict.fromkeys(("a", "GANSeg"), baselines.Baseline(split.parts, 2, "nothing"))
    names |= vars(pictures) | {"describe": describe}
    exec(source, names)
    rows = names["comparison_rows"]()
    assert list(rows) == ["image"] * shown + ["a", "GANSeg", "truth"]
    assert (len(np.unique(rows["a"].reshape(-1, 3), axis=0)) > 3) == shown  # more colours than those of labels


@pytest.mark.parametrize(("data", "fails"), [("synthetic-bird", False), ("synthetic-camouflage", True)])
def test_colour_alone_finds_drawn_birds_but_not_camouflaged_ones(data: str, fails: bool) -> None:
    split = load(data, "val", 48, limit=30)
    images, truth = np.asarray(split.images), np.asarray(split.foreground)
    grabcut, kmeans = (mean_iou(found, truth) for found in (baselines.grabcut(images), baselines.kmeans(images, 6)))
    assert (grabcut < 0.45) == fails and kmeans < 0.45
