"""Losses: tensors in, tensors out, one per file."""

from xfeat.losses.anchor_consistency import assignment_cost
from xfeat.losses.cross_correlation import cross_correlation
from xfeat.losses.generalized_cross_entropy import class_log_probability, generalized_cross_entropy
from xfeat.losses.gradient_reversal import reverse_gradient
from xfeat.losses.info_nce import info_nce
from xfeat.losses.invariance import invariance
from xfeat.losses.mixing import mix
from xfeat.losses.multi_similarity import multi_similarity
from xfeat.losses.multi_sinkhorn import multi_assignment
from xfeat.losses.pair_mining import PairMasks, mine_pairs, split_pairs
from xfeat.losses.proxy_anchor import proxy_anchor
from xfeat.losses.proxy_interaction import proxy_interaction
from xfeat.losses.reversible_consistency import Consistency, factored, reversible_consistency
from xfeat.losses.separation import Separation, separation
from xfeat.losses.sinkhorn import single_assignment
from xfeat.losses.sufficiency import sufficiency

__all__ = [
    "Consistency",
    "PairMasks",
    "Separation",
    "assignment_cost",
    "class_log_probability",
    "cross_correlation",
    "factored",
    "generalized_cross_entropy",
    "info_nce",
    "invariance",
    "mine_pairs",
    "mix",
    "multi_assignment",
    "multi_similarity",
    "proxy_anchor",
    "proxy_interaction",
    "reverse_gradient",
    "reversible_consistency",
    "separation",
    "single_assignment",
    "split_pairs",
    "sufficiency",
]
