"""Trainable heads on cached features."""

from xfeat.heads.branch import Branch

__all__ = ["Branch"]
