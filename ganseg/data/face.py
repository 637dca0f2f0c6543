"""`synthetic-face`: head and shoulders in six parts. Left and right are the viewer's, as in CelebA."""

from __future__ import annotations

import numpy as np

from ganseg.data.colour import hsv
from ganseg.data.draws import Draws
from ganseg.data.shapes import Figure, Layer, capsule, turn, vector

PARTS = ("hair", "face", "left eye", "right eye", "mouth", "shoulders")
KEYPOINTS = (
    "left eye",
    "right eye",
    "nose",
    "left mouth corner",
    "right mouth corner",
    "chin",
    "crown",
    "left shoulder",
    "right shoulder",
)
HAIR, FACE, LEFT_EYE, RIGHT_EYE, MOUTH, SHOULDERS = 1, 2, 3, 4, 5, 6
ROTATION, SCALE = np.deg2rad(14), (0.9, 1.35)


def palette(draws: Draws) -> tuple[dict[str, np.ndarray], np.ndarray]:
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


def features(draws: Draws, still: np.ndarray) -> dict[str, np.ndarray]:
    """Eyes, pupils, nose, mouth and hair as (N, C, 6), head upright, the joint at the neck in the origin."""
    yaw, gap = draws.uniform(-0.045, 0.045), draws.uniform(0.068, 0.084)
    at = lambda x, y: vector(still + x, still + y)
    glance, open_ = draws.uniform(-0.014, 0.014), draws.uniform(0.03, 0.042)
    made = {}
    for name, x in (("left", yaw - gap), ("right", yaw + gap)):
        made[name] = capsule(at(x - 0.022, -0.19), at(x + 0.022, -0.19), open_, open_)[:, None]
        made[name + " pupil"] = capsule(at(x + glance, -0.19), at(x + glance, -0.185), 0.021, 0.021)[:, None]
    made["nose"] = capsule(at(1.2 * yaw, -0.15), at(1.35 * yaw, -0.105), 0.01, 0.021)[:, None]
    wide, smile, lips = draws.uniform(0.05, 0.085), draws.uniform(-0.015, 0.035), draws.uniform(0.02, 0.034)
    middle = at(1.1 * yaw, -0.035)
    ends = [middle + vector(side * wide, -smile) for side in (-1, 1)]
    made["mouth"] = np.stack([capsule(middle, end, lips, 0.8 * lips) for end in ends], axis=1)
    fringe, side = draws.uniform(-0.31, -0.275), draws.uniform(-0.03, 0.03)
    locks = [capsule(at(side, fringe - 0.03), at(x, fringe + 0.05), 0.068, 0.045) for x in (-0.15, 0.15)]
    made["fringe"] = np.stack(locks, axis=1)
    length = draws.uniform(0.0, 0.24) * draws.chance(0.75)
    made["hair"] = capsule(at(0.0, -0.225), at(0.0, -0.2 + length), 0.2, draws.uniform(0.15, 0.2))[:, None]
    made["face"] = capsule(at(0.0, -0.185), at(0.4 * yaw, -0.06), 0.155, draws.uniform(0.1, 0.13))[:, None]
    return made


def figure(draws: Draws) -> tuple[Figure, np.ndarray]:
    """N busts about the origin, about 0.65 high, and the hue of their skin (N,)."""
    tint, hue = palette(draws)
    still = np.zeros(len(hue), np.float32)
    tilt, slope, wide = draws.uniform(-0.3, 0.3), draws.uniform(-0.03, 0.03), draws.uniform(0.15, 0.2)
    made = features(draws, still)
    for capsules in made.values():  # the head nods on the neck
        capsules[..., :2] = turn(capsules[..., :2], tilt[:, None])
        capsules[..., 2:4] = turn(capsules[..., 2:4], tilt[:, None])
    neck = capsule(turn(vector(still, -0.05), tilt), vector(still, 0.12), 0.07, 0.08)
    arms = [capsule(vector(still, 0.14), vector(s * wide, 0.18 + s * slope), 0.08, 0.07) for s in (-1, 1)]
    layers = (
        Layer(HAIR, made["hair"], tint["hair"], 0.8),
        Layer(SHOULDERS, np.stack([neck, *arms], axis=1), tint["shoulders"]),
        Layer(FACE, made["face"], tint["face"], 0.3),
        Layer(FACE, made["nose"], tint["nose"], 0.0),
        Layer(LEFT_EYE, made["left"], tint["eye"], 0.0),
        Layer(LEFT_EYE, made["left pupil"], tint["pupil"], 0.0),
        Layer(RIGHT_EYE, made["right"], tint["eye"], 0.0),
        Layer(RIGHT_EYE, made["right pupil"], tint["pupil"], 0.0),
        Layer(MOUTH, made["mouth"], tint["mouth"], 0.0),
        Layer(HAIR, made["fringe"], tint["hair"], 0.8),
    )
    centre = [made[name][:, 0, :4].reshape(-1, 2, 2).mean(1) for name in ("left", "right")]  # (N, 2) each
    corners = [made["mouth"][:, i, 2:4] for i in (0, 1)]
    jaw = made["face"][:, 0]
    chin = jaw[:, 2:4] + turn(vector(still, jaw[:, 5] - 0.012), tilt)
    crown = made["hair"][:, 0, :2] + turn(vector(still, -0.185), tilt)
    points = [*centre, made["nose"][:, 0, 2:4], *corners, chin, crown, arms[0][:, 2:4], arms[1][:, 2:4]]
    return Figure(layers, np.stack(points, axis=1), (5, 7, 3, 8, 8, 2, 0, 1, 1)), hue
