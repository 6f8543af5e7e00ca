"""How rows are dealt out. Without torch: the settings need it, and they are shown and checked in an instant."""


def batch_count(rows: int, batch_size: int) -> int:
    """Batches in an epoch: as many as come closest to ``batch_size`` when all rows are dealt out evenly; at least 1."""
    return max(1, (2 * rows + batch_size) // (2 * batch_size))
