"""Trainable heads on cached features."""

from xfeat.heads.branch import Branch
from xfeat.heads.dropout import dropout_mask
from xfeat.heads.recast import Recast

__all__ = ["Branch", "Recast", "dropout_mask"]
