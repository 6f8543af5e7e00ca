"""Losses: tensors in, tensors out, one per file."""

from xfeat.losses.generalized_cross_entropy import class_log_probability, generalized_cross_entropy
from xfeat.losses.mixing import mix
from xfeat.losses.reversible_consistency import Consistency, factored, reversible_consistency

__all__ = [
    "Consistency",
    "class_log_probability",
    "factored",
    "generalized_cross_entropy",
    "mix",
    "reversible_consistency",
]
