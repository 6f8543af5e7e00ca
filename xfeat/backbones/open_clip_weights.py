"""Which weights an open_clip SPEC means, and everything that must fit them: activation, preprocessing, tensors.

A weights file says nothing of its activation or preprocessing, and open_clip only warns, or falls back to the defaults
of OpenAI's models. Wrong ones give features that look fine and rank badly, so here a doubt is an error.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfeat.backbones.base import Spec
from xfeat.backbones.registry import closest
from xfeat.backbones.weights import (
    SUFFIXES,
    existing,
    is_file_of,
    one_line,
    other_shape,
    quiet,
    read_tensors,
    tensors_sha256,
)
from xfeat.errors import InputError

SIDECAR = "open_clip_config.json"


@dataclass(frozen=True)
class Weights:
    """Weights found for a model.

    Attributes:
        tag: the pretrained tag, empty where none is known.
        file: the file; None while the hub has not been asked.
        preprocess: what image preprocessing must be, as open_clip's settings that differ from its defaults.
    """

    tag: str
    file: Path | None
    preprocess: Mapping[str, Any]


def find_weights(spec: Spec) -> Weights:
    """Find out what ``model@weights`` means, without loading or downloading anything.

    Weights are a pretrained tag, a file, or ``TAG=FILE``: a file that holds the weights of that tag.

    Raises:
        InputError: unknown model or tag, no weights, a missing file, a QuickGELU mismatch, or a file whose
            preprocessing cannot be told.
    """
    import open_clip

    config = open_clip.get_model_config(spec.model)
    if config is None:
        models = open_clip.list_models()
        raise InputError(
            f"no open_clip model {spec.model!r}{closest(spec.model, models)}; {len(models)} are listed by "
            "python -c 'import open_clip; print(open_clip.list_models())'"
        )
    tags = open_clip.list_pretrained_tags_by_model(spec.model)
    if not spec.weights:
        known = f"its tags: {', '.join(tags)}" if tags else "it has no tags, pass a file"
        raise InputError(f"backbone {spec}: no weights given; write {spec}@TAG or {spec}@FILE ({known})")
    if open_clip.pretrained.is_pretrained_cfg(spec.model, spec.weights):
        return Weights(spec.weights, None, _of_tag(spec.model, spec.weights, config))
    tag, equals, path = spec.weights.partition("=")
    if equals and open_clip.pretrained.is_pretrained_cfg(spec.model, tag) and not Path(spec.weights).is_file():
        return Weights(tag, existing(Path(path)), _of_tag(spec.model, tag, config))
    file = Path(spec.weights)
    if file.exists() or file.suffix in SUFFIXES or len(file.parts) > 1:
        return _of_file(spec.model, existing(file), config)
    elsewhere = open_clip.list_pretrained_models_by_tag(spec.weights)
    hint = f" (it belongs to {', '.join(elsewhere)})" if elsewhere else closest(spec.weights, tags)
    raise InputError(
        f"{spec.weights!r} is neither a file nor a tag of {spec.model}{hint}: its tags are {', '.join(tags) or 'none'}"
    )


def download(model: str, tag: str) -> Path:
    """The file of a tag, from the hub's local cache or the hub.

    Raises:
        InputError: neither has it.
    """
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    try:
        with quiet("huggingface_hub"):
            return Path(download_pretrained(get_pretrained_cfg(model, tag)))
    except Exception as error:  # hub, proxy, disk: each with its own exception types
        raise InputError(
            f"weights {tag!r} of {model} are not on this machine and cannot be downloaded ({one_line(error)}): fetch "
            f"them where there is a network and pass the file: open_clip:{model}@{tag}=/path/to/weights.safetensors"
        ) from error


def load_model(name: str, weights: Weights) -> tuple[Any, str]:
    """Create the model on the CPU, in float32, with its weights; the model and the sha256 of its tensors.

    Raises:
        InputError: weights that cannot be had, read or fitted; a package that the model needs.
    """
    import open_clip

    file = weights.file or download(name, weights.tag)
    # open_clip's own reader may unpickle on old torch: nothing it reads has not passed here first.
    stored = {key: tuple(tensor.shape) for key, tensor in read_tensors(file).items()}
    try:
        with quiet():
            model = open_clip.create_model(
                name,
                pretrained=str(file),
                precision="fp32",
                force_preprocess_cfg=dict(weights.preprocess),
                pretrained_text=False,
                weights_only=True,
            )
    except ImportError as error:
        raise InputError(f"open_clip model {name} needs a package that is missing ({one_line(error)})") from error
    except Exception as error:  # torch raises RuntimeError, open_clip asserts, its converters raise KeyError
        raise InputError(f"weights file {file} does not fit open_clip model {name}: {one_line(error)}") from error
    state = model.state_dict()
    # open_clip resamples position embeddings of another size without a word: the result is not the published model.
    if other := other_shape(stored, state):
        raise InputError(f"weights file {file} does not fit open_clip model {name}: {other}")
    return model, tensors_sha256(state)


def _of_tag(model: str, tag: str, config: Mapping[str, Any]) -> dict[str, Any]:
    from open_clip.pretrained import get_pretrained_cfg

    settings = get_pretrained_cfg(model, tag)
    quick = bool(config.get("quick_gelu"))
    # A tag that says nothing was trained with GELU, except where its model has no such variant (roberta-ViT-B-32).
    only_quick = quick and not model.endswith("-quickgelu")
    _check_activation(model, quick, bool(settings.get("quick_gelu", only_quick)), f"weights {tag!r}")
    return _preprocess(settings)


def _of_file(model: str, file: Path, config: Mapping[str, Any]) -> Weights:
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    quick = bool(config.get("quick_gelu"))
    sidecar = _sidecar(file)
    if sidecar is not None:
        theirs = sidecar.get("model_cfg", sidecar)
        _check_activation(model, quick, bool(theirs.get("quick_gelu")), f"{file.name} (by its {SIDECAR})")
        return Weights("", file, _preprocess(sidecar.get("preprocess_cfg", {})))
    if "quickgelu" in file.name.lower():
        _check_activation(model, quick, True, f"{file.name} (by its name)")
    settings = {tag: get_pretrained_cfg(model, tag) for tag in list_pretrained_tags_by_model(model)}
    for tag, published in settings.items():
        if is_file_of(published, "/".join(published.get("hf_hub", "").split("/")[:2]), file):
            return Weights(tag, file, _of_tag(model, tag, config))
    alike = {tag: s for tag, s in settings.items() if bool(s.get("quick_gelu")) == quick} or settings
    candidates = [_preprocess(s) for s in alike.values()]
    if any(candidate != candidates[0] for candidate in candidates):
        raise InputError(
            f"weights file {file}: the weights of {model} differ in image preprocessing, and the file does not say "
            f"which it needs; name its tag: open_clip:{model}@TAG={file} with TAG one of {', '.join(alike)}"
        )
    return Weights("", file, candidates[0] if candidates else {})


def _check_activation(model: str, model_quick: bool, weights_quick: bool, what: str) -> None:
    if model_quick == weights_quick:
        return
    other = f"{model}-quickgelu" if weights_quick else model.removesuffix("-quickgelu")
    trained = "with QuickGELU" if weights_quick else "with GELU, not QuickGELU"
    raise InputError(f"{what} was trained {trained}, model {model} computes the other: use open_clip:{other}@...")


def _preprocess(settings: Mapping[str, Any]) -> dict[str, Any]:
    from open_clip.transform import merge_preprocess_dict

    found: dict[str, Any] = merge_preprocess_dict({}, dict(settings))
    found.pop("size", None)  # the size is the model's
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def _sidecar(file: Path) -> dict[str, Any] | None:
    path = file.with_name(SIDECAR)
    if not path.is_file():
        return None
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        document.get("model_cfg", document).get("quick_gelu")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not an open_clip configuration ({one_line(error)})") from None
    return document
