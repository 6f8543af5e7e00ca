"""Losses: tensors in, tensors out, one per file."""

from xfeat.losses.anchor_consistency import assignment_cost
from xfeat.losses.generalized_cross_entropy import class_log_probability, generalized_cross_entropy
from xfeat.losses.info_nce import info_nce
from xfeat.losses.mixing import mix
from xfeat.losses.multi_sinkhorn import multi_assignment
from xfeat.losses.reversible_consistency import Consistency, factored, reversible_consistency
from xfeat.losses.sinkhorn import single_assignment

__all__ = [
    "Consistency",
    "assignment_cost",
    "class_log_probability",
    "factored",
    "generalized_cross_entropy",
    "info_nce",
    "mix",
    "multi_assignment",
    "reversible_consistency",
    "single_assignment",
]
