"""What a baseline in closed form leaves of a modality: one affine map."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

Activation: TypeAlias = Literal["none", "softmax", "sigmoid"]
Matrix: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class LinearMap:
    """x -> activation(x weight + bias).

    Attributes:
        weight: (D, O) float64.
        bias: (O,) float64; minus infinity makes a softmax or a sigmoid 0.
        activation: of every row.
    """

    weight: Matrix
    bias: Matrix
    activation: Activation = "none"
