"""Trainable heads on cached features."""

from xfeat.heads.branch import Branch
from xfeat.heads.dropout import Dropout

__all__ = ["Branch", "Dropout"]
