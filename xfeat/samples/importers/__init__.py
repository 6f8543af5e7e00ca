"""Features made elsewhere: files of arrays, tables and folders of embeddings, whatever their columns are called."""

from xfeat.samples.importers.mapping import Imported, read_arrays
from xfeat.samples.importers.names import Names, TokenNames

__all__ = ["Imported", "Names", "TokenNames", "read_arrays"]
