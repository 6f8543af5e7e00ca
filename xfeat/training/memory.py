"""How much memory features may take."""

import re
from pathlib import Path

import torch

from xfeat.errors import InputError

_SIZE = re.compile(r"\s*([0-9.]{1,18})\s*([KMGT]?)i?B?\s*", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_CGROUP = Path("/sys/fs/cgroup")


def memory_budget(words: str, device: torch.device) -> int:
    """Bytes that the features of one modality may take on a device.

    Args:
        words: a size (``2GB``, ``500M``, bytes; powers of 1024), or ``auto``: half of what is free now.
        device: where training rows would lie.

    Raises:
        InputError: neither.
    """
    if words != "auto":
        found = _SIZE.fullmatch(words)
        if not found or found[1].count(".") > 1 or not found[1].strip("."):
            raise InputError(f"setting memory={words!r}: write a size, for example 2GB, or auto")
        return int(float(found[1]) * _UNITS[found[2].upper()])
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 2)
    return _free() // 2


def _free() -> int:
    """Free main memory: of the machine, of the container, under the process's own limit; the least of what is known."""
    known = [_meminfo(), _container(), _own_limit()]
    return min((value for value in known if value is not None), default=1 << 62)


def _meminfo() -> int | None:
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE)
    return int(match[1]) << 10 if match else None


def _container() -> int | None:
    most, now = _text(_CGROUP / "memory.max").strip(), _text(_CGROUP / "memory.current").strip()
    return max(0, int(most) - int(now)) if most.isdigit() and now.isdigit() else None


def _own_limit() -> int | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    status, left = _text(Path("/proc/self/status")), []
    for what, line in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit = resource.getrlimit(what)[0]
        used = re.search(rf"^{line}:\s+(\d+) kB", status, re.MULTILINE)
        if limit != resource.RLIM_INFINITY and used:
            left.append(max(0, limit - (int(used[1]) << 10)))
    return min(left, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
