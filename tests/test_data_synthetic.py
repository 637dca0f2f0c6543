"""The synthetic scenes: drawing, determinism, exact labels."""

import numpy as np
import pytest

from ganseg.data.creatures import CREATURES
from ganseg.data.synthetic import GOLDEN, Draws, capsule, distance, mix, place, vector


@pytest.fixture(scope="module", params=CREATURES)
def creature(request):
    return CREATURES[request.param]


@pytest.fixture(scope="module")
def drawn(creature):
    return creature.scenes(0, np.arange(300), 64)


def test_the_random_numbers_are_splitmix64():
    states = np.arange(1, 4, dtype=np.uint64) * GOLDEN  # of the published generator seeded with 0
    assert [hex(v) for v in mix(states)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]


def test_distance_to_a_tapered_capsule_by_hand():
    one = capsule(vector(0.0, 0.0)[None], vector(4.0, 0.0)[None], 1.0, 0.5)  # (N, 2, 3) = (1, 2, 3)
    x, y = np.float32([[[-3.0, 2.0, 6.0, 0.0]]]), np.float32([[[0.0, 2.0, 0.0, 0.0]]])
    np.testing.assert_allclose(distance(one, x, y)[0, 0], [2.0, 1.25, 1.5, -1.0], atol=1e-5)


def test_a_scene_does_not_depend_on_its_batch(creature):
    together = creature.scenes(0, np.arange(40), 32)
    alone = creature.scenes(0, np.array([37]), 32)
    for name, value in alone.items():
        np.testing.assert_allclose(value[0].astype(float), together[name][37].astype(float), atol=1, err_msg=name)
    np.testing.assert_array_equal(alone["parts"][0], together["parts"][37])


def test_seed_and_index_change_the_scene(creature):
    a = creature.scenes(0, np.array([5, 6]), 32)["images"].astype(int)
    b = creature.scenes(1, np.array([5]), 32)["images"].astype(int)
    assert abs(a[0] - a[1]).mean() > 5 and abs(a[0] - b[0]).mean() > 5


def test_two_sizes_show_the_same_scene(creature, drawn):
    small = creature.scenes(0, np.arange(300), 32)
    reduced = drawn["images"].reshape(300, 32, 2, 32, 2, 3).mean((2, 4))  # (N, 64, 64, 3) -> (N, 32, 32, 3)
    assert abs(reduced - small["images"]).mean() < 4
    # the four pixels of 64 within one of 32 agree with it wherever they agree with each other
    four = drawn["parts"].reshape(300, 32, 2, 32, 2).transpose(0, 1, 3, 2, 4).reshape(300, 32, 32, 4)
    same = (four == four[..., :1]).all(-1)
    assert same.mean() > 0.8 and (four[..., 0] == small["parts"])[same].mean() > 0.999
    np.testing.assert_allclose((drawn["keypoints"] + 0.5) / 2, small["keypoints"] + 0.5, atol=1e-3)
    np.testing.assert_array_equal(drawn["visible"], small["visible"])


def test_labels_are_the_named_parts_and_make_up_the_foreground(creature, drawn):
    parts = len(creature.parts)
    assert set(np.unique(drawn["parts"])) == set(range(parts + 1))
    np.testing.assert_array_equal(drawn["foreground"], drawn["parts"] > 0)
    least = 0.97 if creature.overhang < 0.1 else 0.9  # more of it leaves the image
    assert min((drawn["parts"] == k).any((1, 2)).mean() for k in range(1, parts + 1)) > least


PARTS_OF_KEYPOINTS = {"synthetic-face": (3, 4, 2, 5, 5, 2, 1, 6, 6)}
BIRD_KEYPOINTS = (1, 1, 2, 2, 2, 3, 4, 5, 5)


def test_visible_keypoints_lie_on_the_part_they_name(creature):
    big, least = creature.scenes(0, np.arange(100), 128), 60 if creature.overhang < 0.1 else 50
    for j, part in enumerate(PARTS_OF_KEYPOINTS.get(creature.name, BIRD_KEYPOINTS)):
        seen = np.flatnonzero(big["visible"][:, j])
        x, y = np.rint(big["keypoints"][seen, j]).astype(int).clip(0, 127).T
        assert len(seen) > least and (big["parts"][seen, y, x] == part).mean() > 0.97, j
    xy = big["keypoints"] + 0.5
    outside = ((xy < 0) | (xy >= 128)).any(-1)
    assert outside.any() and not big["visible"][outside].any()


def test_objects_fill_a_moderate_part_of_the_image_and_are_not_centred(creature, drawn):
    low, high = {"synthetic-face": (0.25, 0.33), "synthetic-turned": (0.14, 0.18)}.get(creature.name, (0.16, 0.20))
    assert low < drawn["foreground"].mean() < high
    ys, xs = np.mgrid[:64, :64]
    mass = drawn["foreground"] / drawn["foreground"].sum((1, 2), keepdims=True)
    centres = np.stack([(mass * xs).sum((1, 2)), (mass * ys).sum((1, 2))], 1) / 64
    assert (centres.std(0) > 0.08).all() and (abs(centres.mean(0) - 0.5) < 0.1).all()


def test_turned_birds_face_both_ways_and_lose_whole_parts_to_the_border():
    turned, plain = (CREATURES[f"synthetic-{name}"].scenes(0, np.arange(200), 48) for name in ("turned", "bird"))
    beak, tail = (CREATURES["synthetic-turned"].keypoints.index(name) for name in ("beak tip", "tail tip"))
    left = [(drawn["keypoints"][:, beak, 0] < drawn["keypoints"][:, tail, 0]).mean() for drawn in (turned, plain)]
    assert 0.4 < left[0] < 0.6 and left[1] == 1
    lost = [np.mean([(drawn["parts"] != k).all((1, 2)) for k in range(1, 6)]) for drawn in (turned, plain)]
    assert lost[0] > 0.02 and lost[1] == 0


def test_at_most_the_stated_overhang_leaves_the_image(creature):
    draws = Draws("place", 0, np.arange(200))
    figure, _ = creature.figure(draws)
    layers = place(figure, draws, np.ones(200), np.zeros(200), overhang=0.1).layers
    discs = np.concatenate([layer.discs for layer in layers], axis=1)  # (N, M, 3)
    low, high = (discs[..., :2] - discs[..., 2:]).min(1), (discs[..., :2] + discs[..., 2:]).max(1)
    slack = 0.1001 * (high - low)
    assert (low >= -slack).all() and (high <= 1 + slack).all() and (low < 0).any() and (high > 1).any()
