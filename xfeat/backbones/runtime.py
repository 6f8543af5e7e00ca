"""What a network runs on: a torch installation that is whole, a device, and float32 that is float32."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import PackageNotFoundError, version

from xfeat.backbones.base import PRECISIONS
from xfeat.errors import InputError

_BROKEN_PAIR = ("torchvision", "undefined symbol", "libtorch", "libcud", "partially initialized")


def pick_device(device: str) -> str:
    """The torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        InputError: another word, or a GPU that is not there.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not device.startswith("cuda"):
        raise InputError(f"device {device!r}: choose auto, cpu or cuda")
    if device != "cpu" and not torch.cuda.is_available():
        raise InputError(f"device {device!r}: torch {torch.__version__} sees no GPU here; use --device cpu or auto")
    return device


def exact_float32() -> AbstractContextManager[None]:
    """A context in which float32 convolutions on a GPU do not round to TF32, which is torch's default."""
    import torch

    return torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)


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
    try:
        import open_clip  # noqa: F401
    except Exception as error:  # a broken pair fails in many ways: RuntimeError, ImportError, OSError, AttributeError
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        if not any(word in str(error) for word in _BROKEN_PAIR):
            raise InputError(f"open_clip cannot be imported ({text}): reinstall open_clip_torch") from error
        build = package_version("torch").partition("+")[2] or "cpu"
        raise InputError(
            f"torch {package_version('torch')} and torchvision {package_version('torchvision') or '(missing)'} are not "
            f"a matching pair ({text}): install both from one index, for example pip install --force-reinstall torch "
            f"torchvision --index-url https://download.pytorch.org/whl/{build}"
        ) from error
