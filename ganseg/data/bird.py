"""`synthetic-bird`: an articulated bird of five parts seen from the side, facing left."""

from __future__ import annotations

import numpy as np

from ganseg.data.colour import hsv
from ganseg.data.draws import Draws
from ganseg.data.shapes import Figure, Layer, capsule, heading, turn, vector

PARTS = ("head", "body", "wing", "tail", "legs")
KEYPOINTS = ("beak tip", "eye", "neck", "rump", "belly", "wing tip", "tail tip", "front foot", "rear foot")
HEAD, BODY, WING, TAIL, LEGS = 1, 2, 3, 4, 5
ROTATION, SCALE = np.deg2rad(22), (0.92, 1.42)


def palette(draws: Draws) -> tuple[dict[str, np.ndarray], np.ndarray]:
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


def head_and_neck(draws: Draws, chest: np.ndarray):
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


def wing(draws: Draws, shoulder: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """(N, 2, 6): arm and hand, from folded along the body to raised."""
    angle = pitch + draws.uniform(-1.35, 0.3)
    elbow = shoulder + draws.uniform(0.07, 0.1)[:, None] * heading(angle)
    tip = elbow + draws.uniform(0.12, 0.16)[:, None] * heading(angle + draws.uniform(-0.45, 0.35))
    return np.stack([capsule(shoulder, elbow, 0.062, 0.056), capsule(elbow, tip, 0.056, 0.018)], axis=1)


def legs(draws: Draws, hips: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(N, 4, 6): shank and toes of both legs."""
    capsules = []
    for hip in hips:
        foot = hip + draws.uniform(0.15, 0.19)[:, None] * heading(np.pi / 2 + draws.uniform(-0.3, 0.4))
        capsules += [capsule(hip, foot, 0.03, 0.024), capsule(foot, foot + vector(-0.06, 0.005), 0.025, 0.02)]
    return np.stack(capsules, axis=1)


def figure(draws: Draws) -> tuple[Figure, np.ndarray]:
    """N birds about the origin, about 0.6 wide, and their hue (N,)."""
    tint, hue = palette(draws)
    pitch = draws.uniform(-0.15, 0.5)
    on_body = lambda x, y: turn(vector(np.broadcast_to(x, pitch.shape), y), pitch)
    neck, head, beak, eye, (beak_tip, eye_point, neck_point) = head_and_neck(draws, on_body(-0.09, 0.0))
    rump = on_body(0.1, 0.0)
    tail_way = heading(pitch + draws.uniform(-0.55, 0.6))
    tail = capsule(rump, rump + draws.uniform(0.19, 0.26)[:, None] * tail_way, 0.04, 0.052)
    wings = wing(draws, on_body(-0.045, -0.025), pitch)
    leg = legs(draws, (on_body(-0.035, 0.06), on_body(0.045, 0.055)))
    body = np.stack([capsule(on_body(-0.085, 0.0), rump, 0.108, 0.072), neck], axis=1)
    layers = (
        Layer(LEGS, leg, tint["legs"], 0.4),
        Layer(TAIL, tail[:, None], tint["tail"]),
        Layer(BODY, body, tint["body"]),
        Layer(HEAD, beak[:, None], tint["beak"], 0.0),
        Layer(HEAD, head[:, None], tint["head"], 0.6),
        Layer(HEAD, eye[:, None], tint["eye"], 0.0),
        Layer(WING, wings, tint["wing"]),
    )
    points = [beak_tip, eye_point, neck_point, on_body(0.13, 0.02), on_body(-0.02, 0.085)]
    points += [wings[:, 1, 2:4], tail[:, 2:4], leg[:, 1, 2:4], leg[:, 3, 2:4]]
    return Figure(layers, np.stack(points, axis=1), (3, 5, 2, 2, 2, 6, 1, 0, 0)), hue
