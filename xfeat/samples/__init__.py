"""Which samples there are: manifests of files and texts, and arrays of features made elsewhere. Nothing needs torch."""

from xfeat.samples.manifest import Samples, read_manifest

__all__ = ["Samples", "read_manifest"]
