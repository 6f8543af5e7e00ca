"""Features made elsewhere: .npz, .npy and .mat files, whatever their arrays are called."""

from xfeat.samples.importers.mapping import Imported, Names, read_arrays

__all__ = ["Imported", "Names", "read_arrays"]
