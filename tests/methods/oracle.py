"""The losses of DRCL written out, one number at a time, in float64."""

import math

import numpy as np
from torch import Tensor

from xfeat.methods.drcl_settings import DrclSettings


def probabilities(z: np.ndarray, y: np.ndarray, prior: np.ndarray, scale: float) -> list[float]:
    """Softmax probability of each row's own classes."""
    found = []
    for row, target in zip(z, y, strict=True):
        scores = np.array([math.exp(scale * float(row @ column)) for column in prior.T])
        found.append(float(sum(scores / scores.sum() * target / target.sum())))
    return found


def literal_weights(counts: Tensor) -> list[float]:
    """Every class that has rows gets the same total; a training row weighs 1 on average."""
    there = [count for count in counts.tolist() if count > 0]
    return [sum(there) / len(there) / count if count > 0 else 0.0 for count in counts.tolist()]


def literal_gce(z: np.ndarray, y: np.ndarray, prior: np.ndarray, q: float, s: DrclSettings, counts: Tensor) -> float:
    each = [-math.log(p) if q == 0 else (1 - p**q) / q for p in probabilities(z, y, prior, s.logit_scale or 1)]
    by_class = literal_weights(counts) if s.class_weight == "balanced" else None
    weights = [float(row @ np.array(by_class)) for row in y] if by_class else [1.0] * len(each)
    return sum(w * loss for w, loss in zip(weights, each, strict=True)) / len(each)


def literal_rsc(
    z: np.ndarray, y: np.ndarray, prior: np.ndarray, q: float, s: DrclSettings, counts: Tensor
) -> dict[str, float]:
    r = y @ np.linalg.pinv(prior)

    def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        # A row that dropout has emptied has cosine 0 with everything.
        return np.array([[2 * (i @ j) / max(1e-12, np.linalg.norm(i) * np.linalg.norm(j)) for j in b] for i in a])

    cross = similarity(r, z)
    parts = {
        "gce": literal_gce(z, y, prior, q, s, counts),
        "intra": float(np.mean((similarity(r, r) - similarity(z, z)) ** 2)),
        "inter": float(np.mean((cross - cross.T) ** 2)),
        "mse": float(np.mean((r - z) ** 2)),
    }
    total = s.alpha * (parts["intra"] + parts["inter"]) + s.beta * parts["mse"] + s.eta * parts["gce"]
    # What has no weight is not computed.
    return {"loss": total, **(parts if s.alpha or s.beta else {"gce": parts["gce"]})}
