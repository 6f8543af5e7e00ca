"""xfeat: feature-cache-first, lightweight training for cross-modal retrieval."""

__version__ = "0.1.0"
