"""Batches: a pure function of seed and step."""

import numpy as np
import pytest
import torch

from ganseg.data import Batches, Split
from ganseg.data.batches import crop, crop_boxes
from ganseg.data.synthetic import Draws


@pytest.fixture
def split():
    images = np.random.default_rng(0).integers(0, 256, (37, 16, 16, 3), dtype=np.uint8)
    images.flags.writeable = False
    return Split(images, tuple(map(str, range(37))))


@pytest.mark.parametrize("augment", ["none", "flip", "crop_flip"])
def test_a_batch_depends_on_seed_and_step_alone(split, augment):
    used = Batches(split, 8, seed=5, augment=augment)
    for step in range(30):
        used.batch(step)
    fresh = Batches(split, 8, seed=5, augment=augment)
    assert torch.equal(used.batch(12), fresh.batch(12))
    assert not torch.equal(fresh.batch(12), fresh.batch(13))
    assert not torch.equal(fresh.batch(12), Batches(split, 8, seed=6, augment=augment).batch(12))


@pytest.mark.parametrize("augment", ["none", "flip", "crop_flip"])
def test_batches_are_channels_first_uint8_in_channels_last_memory(split, augment):
    batches = Batches(split, 8, 0, augment)
    batch = batches.batch(7)
    assert batch.dtype == torch.uint8 and batch.is_contiguous(memory_format=torch.channels_last)
    expected = split.images[batches.indices(7)].transpose(0, 3, 1, 2)  # (8, S, S, 3) -> (8, 3, S, S)
    assert batch.shape == expected.shape and (batch.numpy() == expected).all() == (augment == "none")


def test_each_epoch_is_another_permutation(split):
    batches = Batches(split, 8, 0, "none")
    stream = np.concatenate([batches.indices(step) for step in range(37)])  # 8 epochs of 37
    epochs = stream.reshape(8, 37)
    assert all(sorted(epoch) == list(range(37)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 8


def test_flip_mirrors_about_half_of_the_images_and_changes_nothing_else(split):
    plain, flipped = Batches(split, 37, 0, "none"), Batches(split, 37, 0, "flip")
    mirrored = 0
    for step in range(20):
        for a, b in zip(plain.batch(step), flipped.batch(step), strict=True):
            same = torch.equal(a, b)
            assert same or torch.equal(a.flip(-1), b)
            mirrored += not same
    assert 0.4 < mirrored / 740 < 0.6


def test_crop_boxes_keep_their_promises():
    sides, centres = crop_boxes(Draws("boxes", 0, np.arange(2000)))
    assert sides.max() <= 1 and sides.prod(1).min() > 0.9 - 0.06 and sides.prod(1).max() <= 1
    ratio = sides[:, 0] / sides[:, 1]
    assert 0.9 - 1e-4 < ratio.min() < 0.93 and 1.07 < ratio.max() < 1.1 + 1e-4
    assert (centres - sides / 2 > -1e-5).all() and (centres + sides / 2 < 1 + 1e-5).all()


def test_a_crop_shows_the_box_and_mirrors_it():
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.float32), (32, 1))  # brightness 8 x at column x, 32 columns
    image = torch.from_numpy(np.stack([ramp, ramp.T, ramp])).to(torch.uint8)[None].repeat(3, 1, 1, 1)
    sides = np.array([[1, 1], [0.5, 1], [0.5, 1]], np.float32)
    centres = np.array([[0.5, 0.5], [0.75, 0.5], [0.75, 0.5]], np.float32)
    whole, right, right_mirrored = crop(image, sides, centres, np.array([False, False, True]))
    assert torch.equal(whole, image[0])
    # column x of the crop samples source column 16 + (x + 0.5) / 2 - 0.5
    expected = np.round(8 * (16 + (np.arange(32) + 0.5) / 2 - 0.5).clip(max=31))
    assert np.abs(right[0, 5].numpy() - expected).max() <= 1
    assert torch.equal(right_mirrored, right.flip(-1))
    assert torch.equal(right[1], image[0, 1])
