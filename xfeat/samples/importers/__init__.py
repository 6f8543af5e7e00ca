"""Features made elsewhere: .npz, .npy and .mat files, whatever their arrays are called."""

from xfeat.samples.importers.mapping import Imported, read_arrays
from xfeat.samples.importers.names import Names, TokenNames

__all__ = ["Imported", "Names", "TokenNames", "read_arrays"]
