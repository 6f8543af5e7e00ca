"""pyarrow, which is an extra."""

from typing import Any

from xfeat.errors import InputError


def import_pyarrow() -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        InputError: it is not installed, or cannot be imported.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
        raise InputError(f'.parquet files need pyarrow, which {why}: pip install "xfeat[parquet]"') from None
    return pyarrow, pyarrow.parquet
