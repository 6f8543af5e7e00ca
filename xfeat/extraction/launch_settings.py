"""What a user may ask of SLURM for each part."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

from xfeat.errors import InputError


def minutes(text: str) -> int:
    """A time limit as SLURM writes them, rounded up to minutes.

    Args:
        text: ``minutes``, ``minutes:seconds``, ``hours:minutes:seconds``, ``days-hours``, ``days-hours:minutes`` or
            ``days-hours:minutes:seconds``.

    Raises:
        ValueError: none of these.

    Example:
        >>> minutes("90"), minutes("30:00"), minutes("1:30:00"), minutes("2-00"), minutes("0:30")
        (90, 30, 90, 2880, 1)
    """
    if not re.fullmatch(r"(\d+-\d+(:\d+){0,2}|\d+(:\d+){0,2})", text, re.ASCII):
        raise ValueError(text)
    days, dash, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    # The first number is hours after a dash, and minutes where there are one or two.
    hours = parts.pop(0) if dash or len(parts) == 3 else 0
    mins, seconds = (*parts, 0, 0)[:2]
    return max(1, (int(days or 0) * 24 + hours) * 60 + mins + -(-seconds // 60))


SLURM_KEYS: dict[str, Callable[[str], Any]] = {
    "partition": str,
    "time": minutes,
    "gpus_per_node": int,
    "mem_gb": float,
    "cpus_per_task": int,
    "account": str,
    "qos": str,
    "constraint": str,
    "gres": str,
    "nodelist": str,
    "exclude": str,
    "array_parallelism": int,
    "signal_delay_s": int,
}
TAKES: dict[Any, str] = {minutes: "minutes, hours:minutes:seconds or days-hours", str: "a word"}
MOST = 1e7


def slurm_settings(words: Sequence[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` words.

    Raises:
        InputError: no such key, a key that is given twice, or a value that does not fit it.
    """
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in SLURM_KEYS or not equals:
            near = difflib.get_close_matches(key, SLURM_KEYS, n=1)
            hint = f" (did you mean {near[0]}?)" if near and equals else ""
            raise InputError(f"--slurm {word!r}: write KEY=VALUE{hint}; keys are {', '.join(SLURM_KEYS)}")
        if key in settings:
            raise InputError(f"--slurm {word!r}: {key} is given twice")
        read = SLURM_KEYS[key]
        try:
            settings[key] = read(value)
        except ValueError:
            settings[key] = None
        if settings[key] in (None, "") or (isinstance(settings[key], int | float) and not 0 < settings[key] < MOST):
            raise InputError(f"--slurm {word!r}: {key} takes {TAKES.get(read, 'a number above 0')}")
    return settings
