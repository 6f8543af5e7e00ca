"""What a network runs on: a torch installation that is whole, a device, and float32 that is float32."""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from xfeat.backbones.base import PRECISIONS
from xfeat.errors import InputError

AUTOCAST = " autocast"
_BROKEN_PAIR = ("torchvision", "undefined symbol", "libtorch", "libcud", "partially initialized")

_lock = threading.Lock()
_inside = 0  # how many threads are in ``exact_float32``
_exact: Any = None


def pick_device(device: str) -> str:
    """The torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        InputError: another word, or a GPU that is not there.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if count else "cpu"
    if device == "cpu":
        return device
    named = re.fullmatch(r"cuda(?::(\d+))?", device)
    if named is None:
        raise InputError(f"device {device!r}: choose auto, cpu, cuda or cuda:N")
    if not count:
        raise InputError(f"device {device!r}: torch {torch.__version__} sees no GPU here; use --device cpu or auto")
    if int(named[1] or 0) >= count:
        raise InputError(f"device {device!r}: there is cuda:0" + (f" to cuda:{count - 1}" if count > 1 else " alone"))
    return device


@contextmanager
def exact_float32() -> Iterator[None]:
    """A context in which float32 convolutions on a GPU do not round to TF32, which is torch's default.

    The setting is the whole process's: the first of several threads in the context makes it, the last takes it back.
    """
    import torch

    global _inside, _exact
    with _lock:
        if not _inside:
            _exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
            _exact.__enter__()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _exact.__exit__(None, None, None)


def check_precision(precision: str) -> str:
    """The precision itself.

    Raises:
        InputError: not one of ``fp32``, ``fp16``, ``bf16``.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}: choose {', '.join(PRECISIONS)}")
    return precision


@contextmanager
def inference(device: str, precision: str) -> Iterator[None]:
    """A context for running a network: no gradients, float32 that is float32, autocast in ``fp16`` and ``bf16``."""
    import torch

    half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    kind = torch.device(device).type
    with torch.inference_mode(), exact_float32(), torch.autocast(kind, half, enabled=half is not None):
        yield


def autocast_name(precision: str) -> str:
    """What a fingerprint says of a precision: ``fp32``, ``fp16 autocast`` or ``bf16 autocast``."""
    return precision if precision == "fp32" else precision + AUTOCAST


def stated_precision(fingerprint: Mapping[str, Any]) -> str:
    """``fp32``, ``fp16`` or ``bf16``, as a fingerprint says it; of a video backbone, that of its frames."""
    inner = fingerprint.get("inner", fingerprint)
    return str(inner.get("precision", "fp32")).removesuffix(AUTOCAST)


def package_version(package: str) -> str:
    """The installed version of a distribution; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def import_open_clip() -> None:
    """Import open_clip, or say how to mend an installation in which torch and torchvision are of different builds.

    Raises:
        InputError: it cannot be imported.
    """
    _import("open_clip", "open_clip_torch")


def import_timm() -> None:
    """Import timm, likewise.

    Raises:
        InputError: it cannot be imported.
    """
    _import("timm", "timm")


def _import(module: str, distribution: str) -> None:
    try:
        import_module(module)
    except Exception as error:  # a broken pair fails in many ways: RuntimeError, ImportError, OSError, AttributeError
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        if not any(word in str(error) for word in _BROKEN_PAIR):
            raise InputError(f"{module} cannot be imported ({text}): reinstall {distribution}") from error
        build = package_version("torch").partition("+")[2] or "cpu"
        raise InputError(
            f"torch {package_version('torch')} and torchvision {package_version('torchvision') or '(missing)'} are not "
            f"a matching pair ({text}): install both from one index, for example pip install --force-reinstall torch "
            f"torchvision --index-url https://download.pytorch.org/whl/{build}"
        ) from error
