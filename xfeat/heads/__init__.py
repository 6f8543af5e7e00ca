"""Trainable heads on cached features."""

from xfeat.heads.branch import Branch
from xfeat.heads.dropout import dropout_mask
from xfeat.heads.gated import GatedEmbeddingUnit
from xfeat.heads.gated_branch import GatedBranch, GatedOutput
from xfeat.heads.recast import Recast
from xfeat.heads.token_transformer import TokenTransformer, masked_mean

__all__ = [
    "Branch",
    "GatedBranch",
    "GatedEmbeddingUnit",
    "GatedOutput",
    "Recast",
    "TokenTransformer",
    "dropout_mask",
    "masked_mean",
]
