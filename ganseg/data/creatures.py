"""The drawn data sets: an articulated bird seen from the side, and a face. Both are exact in parts and keypoints.

Scene i depends on (seed, i) alone. A figure of random pose, scale, rotation, colours, texture and lighting stands at
a uniformly random place, over a textured background. Nothing is centred; background and figure are drawn
independently but for the contrast of their hues.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from ganseg.data.sets import DataSet, Listing, Sample
from ganseg.data.synthetic import Draws, Figure, Layer, capsule, heading, hsv, paint, place, turn, vector

SPLITS = {"train": range(0, 10_000), "val": range(10_000, 11_000), "test": range(11_000, 12_000)}
SEED = 0
HEAD, BODY, WING, TAIL, LEGS = 1, 2, 3, 4, 5  # parts of a bird, and of a face
HAIR, FACE, LEFT_EYE, RIGHT_EYE, MOUTH, SHOULDERS = 1, 2, 3, 4, 5, 6
DRAWING = "1567fbbf438ffd3d"  # changed by hand when scenes look different: they are other data then


class Creature(NamedTuple):
    """What is drawn: `figure(draws)` gives N figures about the origin, and their hue (N,).

    `parts` and `keypoints`: their names; `rotation`: the largest, in degrees; `scale`: from, to; `camouflaged`: before
    a background of its own colours, told apart by shading, texture and what moves from image to image; `overhang`: how
    much of it may leave the image; `both_ways`: every other one, at random, is mirrored.
    """

    name: str
    title: str
    figure: Callable[[Draws], tuple[Figure, np.ndarray]]
    parts: tuple[str, ...]
    keypoints: tuple[str, ...]
    rotation: float
    scale: tuple[float, float]
    augment: str
    camouflaged: bool = False
    overhang: float = 0.08
    both_ways: bool = False

    def scenes(self, seed: int, indices: np.ndarray, size: int) -> dict[str, np.ndarray]:
        """The scenes `indices` (N,) at S = `size` pixels a side.

        Returns images (N, S, S, 3) uint8, parts (N, S, S) uint8 with 0 = background, foreground (N, S, S) uint8,
        keypoints (N, J, 2) float32 in pixels (centres at integers) and visible (N, J) bool.
        """
        draws = Draws(self.name, seed, indices)
        figure, hue = self.figure(draws)
        scale = draws.uniform(*self.scale)
        angle = draws.uniform(-np.deg2rad(self.rotation), np.deg2rad(self.rotation))
        if self.both_ways:
            mirror = np.ones((len(indices), 1, 3), np.float32)
            mirror[draws.chance(0.5), :, 0] = -1
            figure = figure.moved(lambda discs: discs * mirror[..., : discs.shape[-1]])
        figure = place(figure, draws, scale, angle, self.overhang)
        images, parts = paint(draws, figure, scale, hue, size, self.camouflaged)
        labels = {"parts": parts, "foreground": (parts > 0).astype(np.uint8)}
        points = {"keypoints": (figure.keypoints * size - 0.5).astype(np.float32), "visible": figure.visible()}
        return {"images": images, **labels, **points}

    def listing(self) -> Listing:
        """The scenes of all splits, not yet drawn."""
        splits = {split: [Sample(f"{self.name}-{i:06d}") for i in indices] for split, indices in SPLITS.items()}
        drawing = ("synthetic", self.name, SEED, DRAWING)
        return Listing(splits, [], [], self.parts, self.keypoints, draw=self.draw, drawing=drawing)

    def draw(self, names: list[str], size: int) -> Iterator[dict[str, np.ndarray]]:
        """The scenes of these names, one after the other, each as in `scenes` without its first axis."""
        indices, together = np.array([int(name[-6:]) for name in names]), max(1, 2**15 // size**2)
        for start in range(0, len(names), together):  # as many as have fields that fit in a core's cache
            drawn = self.scenes(SEED, indices[start : start + together], size)
            for values in zip(*drawn.values(), strict=True):
                yield dict(zip(drawn, values, strict=True))


def bird_palette(draws: Draws) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """RGB by name, (N, 3) each, and the bird's hue (N,). Parts share a hue and differ in tone."""
    n = lambda spread: draws.uniform(-spread, spread)
    warm, any_hue = draws.uniform(-0.05, 0.13), draws.uniform(0.0, 1.0)
    hue = np.where(draws.chance(0.75), warm, any_hue)
    return {
        "body": hsv(hue + n(0.02), 0.5 + n(0.15), 0.86 + n(0.1)),
        "head": hsv(hue - 0.05 + n(0.03), 0.8 + n(0.12), 0.7 + n(0.15)),
        "wing": hsv(hue + 0.04 + n(0.04), 0.6 + n(0.15), 0.42 + n(0.12)),
        "tail": hsv(hue - 0.1 + n(0.04), 0.65 + n(0.15), 0.5 + n(0.14)),
        "legs": hsv(0.09 + n(0.03), 0.85 + n(0.1), 0.75 + n(0.15)),
        "beak": hsv(0.12 + n(0.03), 0.8 + n(0.1), 0.9 + n(0.08)),
        "eye": hsv(0.0, 0.2, 0.08 + n(0.05)),
    }, hue


def head_and_neck(draws: Draws, chest: np.ndarray) -> tuple:
    """Capsules of neck, head, beak and eye, and the keypoints beak tip, eye and neck; `chest`: (N, 2)."""
    base = chest + vector(-0.02, -0.05)
    top = base + draws.uniform(0.1, 0.18)[:, None] * heading(draws.uniform(-2.6, -1.75))
    gaze = heading(np.pi + draws.uniform(-0.35, 0.35))
    upright = np.stack([-gaze[:, 1], gaze[:, 0]], axis=1)  # (N, 2), the gaze turned by a quarter: up
    reach = draws.uniform(0.12, 0.17)[:, None]
    neck = capsule(base, top, 0.062, 0.05)
    head = capsule(top, top + 0.03 * gaze, 0.078, 0.064)
    beak = capsule(top + 0.06 * gaze, top + reach * gaze, 0.036, 0.01)
    eye = top + 0.035 * gaze + 0.024 * upright
    return neck, head, beak, capsule(eye, eye, 0.02, 0.02), [top + (reach - 0.008) * gaze, eye, base]


def leg(draws: Draws, hip: np.ndarray) -> np.ndarray:
    """(N, 4, 3): shank and toes."""
    foot = hip + draws.uniform(0.15, 0.19)[:, None] * heading(np.pi / 2 + draws.uniform(-0.3, 0.4))
    return np.hstack([capsule(hip, foot, 0.03, 0.024), capsule(foot, foot + vector(-0.06, 0.005), 0.025, 0.02)])


def bird(draws: Draws) -> tuple[Figure, np.ndarray]:
    """N birds about the origin, about 0.6 wide, and their hue (N,)."""
    tint, hue = bird_palette(draws)
    pitch = draws.uniform(-0.15, 0.5)
    on_body = lambda x, y: turn(vector(np.broadcast_to(x, pitch.shape), y), pitch)
    neck, head, beak, eye, head_points = head_and_neck(draws, on_body(-0.09, 0.0))
    rump = on_body(0.1, 0.0)
    tail_way = heading(pitch + draws.uniform(-0.55, 0.6))
    tail = capsule(rump, rump + draws.uniform(0.19, 0.26)[:, None] * tail_way, 0.04, 0.052)
    shoulder, raised = on_body(-0.045, -0.025), pitch + draws.uniform(-1.35, 0.3)
    elbow = shoulder + draws.uniform(0.07, 0.1)[:, None] * heading(raised)
    tip = elbow + draws.uniform(0.12, 0.16)[:, None] * heading(raised + draws.uniform(-0.45, 0.35))
    wings = np.hstack([capsule(shoulder, elbow, 0.062, 0.056), capsule(elbow, tip, 0.056, 0.018)])
    front, rear = leg(draws, on_body(-0.035, 0.06)), leg(draws, on_body(0.045, 0.055))
    layers = (
        Layer(LEGS, np.hstack([front, rear]), tint["legs"], 0.4),
        Layer(TAIL, tail, tint["tail"]),
        Layer(BODY, np.hstack([capsule(on_body(-0.085, 0.0), rump, 0.108, 0.072), neck]), tint["body"]),
        Layer(HEAD, beak, tint["beak"], 0.0),
        Layer(HEAD, head, tint["head"], 0.6),
        Layer(HEAD, eye, tint["eye"], 0.0),
        Layer(WING, wings, tint["wing"]),
    )
    ends = [discs[:, i, :2] for discs, i in ((wings, 3), (tail, 1), (front, 3), (rear, 3))]
    points = [*head_points, on_body(0.13, 0.02), on_body(-0.02, 0.085), *ends]
    return Figure(layers, np.stack(points, axis=1), (3, 5, 2, 2, 2, 6, 1, 0, 0)), hue


def face_palette(draws: Draws) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """RGB by name, (N, 3) each, and the skin's hue (N,)."""
    n = lambda spread: draws.uniform(-spread, spread)
    hue, tone = 0.065 + n(0.025), draws.uniform(0.0, 1.0)
    hair_hue = np.where(draws.chance(0.85), 0.06 + n(0.05), draws.uniform(0.0, 1.0))
    return {
        "face": hsv(hue, 0.62 - 0.3 * tone + n(0.06), 0.58 + 0.37 * tone),
        "nose": hsv(hue - 0.01, 0.68 - 0.25 * tone, 0.44 + 0.34 * tone),
        "hair": hsv(hair_hue, 0.5 + n(0.25), 0.12 + 0.5 * draws.uniform(0.0, 1.0) ** 2),
        "eye": hsv(0.55 + n(0.1), 0.08 + n(0.05), 0.95 + n(0.05)),
        "pupil": hsv(draws.uniform(0.0, 0.7), 0.5, 0.16 + n(0.1)),
        "mouth": hsv(0.98 + n(0.03), 0.7 + n(0.15), 0.62 + n(0.16)),
        "shoulders": hsv(draws.uniform(0.0, 1.0), 0.6 + n(0.3), 0.6 + n(0.3)),
    }, hue


def face_features(draws: Draws, still: np.ndarray) -> dict[str, np.ndarray]:
    """Discs of eyes, pupils, nose, mouth and hair, head upright, the joint at the neck in the origin."""
    yaw, gap = draws.uniform(-0.045, 0.045), draws.uniform(0.068, 0.084)
    at = lambda x, y: vector(still + x, still + y)
    glance, open_ = draws.uniform(-0.014, 0.014), draws.uniform(0.03, 0.042)
    made = {}
    for name, x in (("left", yaw - gap), ("right", yaw + gap)):
        made[name] = capsule(at(x - 0.022, -0.19), at(x + 0.022, -0.19), open_, open_)
        made[name + " pupil"] = capsule(at(x + glance, -0.19), at(x + glance, -0.185), 0.021, 0.021)
    made["nose"] = capsule(at(1.2 * yaw, -0.15), at(1.35 * yaw, -0.105), 0.01, 0.021)
    wide, smile, lips = draws.uniform(0.05, 0.085), draws.uniform(-0.015, 0.035), draws.uniform(0.02, 0.034)
    middle = at(1.1 * yaw, -0.035)
    made["mouth"] = np.hstack([capsule(middle, middle + vector(s * wide, -smile), lips, 0.8 * lips) for s in (-1, 1)])
    fringe, side = draws.uniform(-0.31, -0.275), draws.uniform(-0.03, 0.03)
    locks = [capsule(at(side, fringe - 0.03), at(x, fringe + 0.05), 0.068, 0.045) for x in (-0.15, 0.15)]
    made["fringe"] = np.hstack(locks)
    length = draws.uniform(0.0, 0.24) * draws.chance(0.75)
    made["hair"] = capsule(at(0.0, -0.225), at(0.0, -0.2 + length), 0.2, draws.uniform(0.15, 0.2))
    made["face"] = capsule(at(0.0, -0.185), at(0.4 * yaw, -0.06), 0.155, draws.uniform(0.1, 0.13))
    return made


def face(draws: Draws) -> tuple[Figure, np.ndarray]:
    """N busts about the origin, about 0.65 high, and the hue of their skin (N,)."""
    tint, hue = face_palette(draws)
    still = np.zeros(len(hue), np.float32)
    tilt, slope, wide = draws.uniform(-0.3, 0.3), draws.uniform(-0.03, 0.03), draws.uniform(0.15, 0.2)
    upright = face_features(draws, still)
    made = {name: turn(discs, tilt[:, None]) for name, discs in upright.items()}  # the head nods on the neck
    neck = capsule(turn(vector(still, -0.05), tilt), vector(still, 0.12), 0.07, 0.08)
    arms = [capsule(vector(still, 0.14), vector(s * wide, 0.18 + s * slope), 0.08, 0.07) for s in (-1, 1)]
    layers = (
        Layer(HAIR, made["hair"], tint["hair"], 0.8),
        Layer(SHOULDERS, np.hstack([neck, *arms]), tint["shoulders"]),
        Layer(FACE, made["face"], tint["face"], 0.3),
        Layer(FACE, made["nose"], tint["nose"], 0.0),
        Layer(LEFT_EYE, made["left"], tint["eye"], 0.0),
        Layer(LEFT_EYE, made["left pupil"], tint["pupil"], 0.0),
        Layer(RIGHT_EYE, made["right"], tint["eye"], 0.0),
        Layer(RIGHT_EYE, made["right pupil"], tint["pupil"], 0.0),
        Layer(MOUTH, made["mouth"], tint["mouth"], 0.0),
        Layer(HAIR, made["fringe"], tint["hair"], 0.8),
    )
    eyes = [made[name][..., :2].mean(1) for name in ("left", "right")]  # (N, 2) each
    chin = made["face"][:, 1, :2] + turn(vector(still, made["face"][:, 1, 2] - 0.012), tilt)
    crown = made["hair"][:, 0, :2] + turn(vector(still, -0.185), tilt)
    nose, *corners = made["nose"][:, 1, :2], made["mouth"][:, 1, :2], made["mouth"][:, 3, :2]
    points = [*eyes, nose, *corners, chin, crown, *(arm[:, 1, :2] for arm in arms)]
    return Figure(layers, np.stack(points, axis=1), (5, 7, 3, 8, 8, 2, 0, 1, 1)), hue


BIRDS = Creature(
    "synthetic-bird", "Synthetic birds", bird, ("head", "body", "wing", "tail", "legs"),
    ("beak tip", "eye", "neck", "rump", "belly", "wing tip", "tail tip", "front foot", "rear foot"),
    rotation=22, scale=(0.92, 1.42), augment="none",
)  # fmt: skip
OWN, BOTH = "Synthetic birds before their own colours", "Synthetic birds facing both ways, in part outside the image"
CAMOUFLAGE = BIRDS._replace(name="synthetic-camouflage", title=OWN, camouflaged=True)
TURNED = BIRDS._replace(name="synthetic-turned", title=BOTH, both_ways=True, overhang=0.35)
FACES = Creature(  # left and right are the viewer's, as in CelebA
    "synthetic-face", "Synthetic faces", face, ("hair", "face", "left eye", "right eye", "mouth", "shoulders"),
    ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner", "chin", "crown", "left shoulder",
     "right shoulder"),
    rotation=14, scale=(0.9, 1.35), augment="flip",
)  # fmt: skip
CREATURES = {creature.name: creature for creature in (BIRDS, CAMOUFLAGE, TURNED, FACES)}
COUNTS = {split: len(indices) for split, indices in SPLITS.items()}
DRAWN = tuple(
    DataSet(one.name, one.title, tuple(SPLITS), one.augment, list=cache(one.listing), needs_dir=False, counts=COUNTS)
    for one in CREATURES.values()
)
