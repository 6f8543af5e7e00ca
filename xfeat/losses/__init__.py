"""Losses: tensors in, tensors out, one per file."""

from xfeat.losses.generalized_cross_entropy import class_log_probability, generalized_cross_entropy
from xfeat.losses.mixing import mix
from xfeat.losses.structure_consistency import structure_consistency

__all__ = ["class_log_probability", "generalized_cross_entropy", "mix", "structure_consistency"]
