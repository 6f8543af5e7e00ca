"""Models saved in a folder, on disk or on the hub: which folder a SPEC means, and what may be read from it.

Weights are read from .safetensors files only, and no code that lies beside them is run.
"""

import hashlib
import importlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xfeat.backbones.base import Spec
from xfeat.backbones.weights import one_line, quiet, tensors_sha256
from xfeat.errors import InputError

_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
_OTHER_RUNTIMES = ["onnx/*", "openvino/*"]
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What a configuration says of where and by whom it was written, not of the model.
_NOT_THE_MODEL = ("_name_or_path", "name_or_path", "transformers_version", "dtype", "torch_dtype")


def import_extra(module: str, extra: str) -> Any:
    """Import a package that an extra of this one brings.

    Raises:
        InputError: it cannot be imported; the line says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f'package {module} cannot be imported ({one_line(error)}): pip install "xfeat[{extra}]"'
        ) from error


def find_folder(spec: Spec, organization: str = "") -> tuple[Path, str]:
    """The folder that ``NAME``, ``NAME@FOLDER`` or ``FOLDER`` means, and the model's name, which holds no path.

    A name that is no folder here is looked up on the hub, or in its local cache.

    Args:
        spec: the backbone.
        organization: on the hub, of names without one.

    Raises:
        InputError: no such folder, and no such model on the hub; or no network.
    """
    given = Path(spec.weights or spec.model).expanduser()
    if given.is_dir():
        return given, _name(spec.model)
    if spec.weights or _is_path(spec.model):
        raise InputError(f"backbone {spec}: there is no folder {given}")
    repository = spec.model if "/" in spec.model or not organization else f"{organization}/{spec.model}"
    return _download(spec, repository), spec.model


def require_safetensors(folder: Path, parts: Sequence[str] = ("",)) -> dict[str, Path]:
    """The weights files in some parts of a folder, by their place in it.

    Raises:
        InputError: a part that lies outside, or one whose weights are pickled.
    """
    found: dict[str, Path] = {}
    for part in parts:
        place = (folder / part).resolve()
        if not place.is_relative_to(folder.resolve()):
            raise InputError(f"model {folder}: its part {part!r} lies outside the folder")
        weights = sorted(place.glob("*.safetensors"))
        pickled = sorted(file.name for file in place.glob("*") if file.suffix in _PICKLES)
        if pickled and not weights:
            raise InputError(
                f"model {folder}: {Path(part, pickled[0]).as_posix()} is a pickle, which is not read; save the model "
                "anew as .safetensors where you trust it"
            )
        found |= {Path(part, file.name).as_posix(): file for file in weights}
    return found


def files_sha256(files: dict[str, Path]) -> str:
    """Sha256 over the tensors in weights files, as ``tensors_sha256`` has it, by part and name of the tensor."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = {}
    for place, file in files.items():
        parent = Path(place).parent.as_posix()
        tensors |= {f"{parent}/{name}": tensor for name, tensor in load_file(file).items()}
    return tensors_sha256(tensors)


def describe(config: Any) -> Any:
    """A configuration as JSON, without names of places, authors' versions and stored precision."""
    if isinstance(config, dict):
        return {str(key): describe(value) for key, value in config.items() if str(key) not in _NOT_THE_MODEL}
    if isinstance(config, list | tuple):
        return [describe(value) for value in config]
    return config if isinstance(config, str | int | float | bool | None) else str(config)


def tokenizer_sha256(tokenizer: Any) -> str:
    """Sha256 over everything by which a tokenizer turns text into ids."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = json.loads(backend.to_str())
        content = {key: value for key, value in content.items() if key not in ("truncation", "padding")}
    else:
        content = {"vocabulary": tokenizer.get_vocab(), "special": tokenizer.special_tokens_map}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def hushed() -> Iterator[None]:
    """Let ``transformers`` and its friends load without a word: what matters is said by us, once."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with quiet("transformers"), quiet("sentence_transformers"), quiet("huggingface_hub"):
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _is_path(model: str) -> bool:
    return model.startswith((".", "~", "/")) or "\\" in model or model.count("/") > 1


def _name(model: str) -> str:
    """A hub name as it is; the last part of a folder."""
    return Path(model).expanduser().resolve().name if _is_path(model) or Path(model).is_dir() else model


def _download(spec: Spec, repository: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        with quiet("huggingface_hub"):
            return Path(snapshot_download(repository, allow_patterns=_FILES, ignore_patterns=_OTHER_RUNTIMES))
    except Exception as error:  # hub, proxy, disk: each with its own exception types
        raise InputError(
            f"model {repository} is not on this machine and cannot be downloaded ({one_line(error)}): fetch it where "
            f"there is a network and pass its folder: {spec.family}:{spec.model}@/path/to/folder"
        ) from error
