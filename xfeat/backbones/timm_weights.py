"""Which weights a timm SPEC means, and a network that holds exactly them.

A weights file does not say how its images were prepared, and timm skips tensors that do not fit a network without its
classifier. Wrong ones give features that look fine and rank badly, so here a doubt is an error.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfeat.backbones.base import Spec
from xfeat.backbones.registry import closest
from xfeat.backbones.weights import existing, is_file_of, one_line, other_shape, quiet, read_tensors
from xfeat.errors import InputError

_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Weights:
    """Weights found for a model.

    Attributes:
        name: ``MODEL.TAG``, or ``MODEL`` where no tag is known.
        create: what ``timm.create_model`` is to be called with.
        file: the file; None where timm gets it from the hub.
        args: the model's arguments that a folder's configuration states.
    """

    name: str
    create: str
    file: Path | None
    args: Mapping[str, Any]


def find_weights(spec: Spec) -> Weights:
    """Find out what ``MODEL.TAG``, ``MODEL.TAG@FILE`` or ``MODEL@FOLDER`` means, without loading or downloading.

    Raises:
        InputError: unknown model or tag, no weights, a missing file, a folder of another model, or a file whose
            preprocessing cannot be told.
    """
    import timm

    model, _, tag = spec.model.partition(".")
    if not timm.is_model(model):
        models = timm.list_models()
        raise InputError(
            f"no timm model {model!r}{closest(model, models)}; {len(models)} are listed by "
            "python -c 'import timm; print(timm.list_models())'"
        )
    tags = _tags(model)
    if tag and tag not in tags:
        raise InputError(f"timm model {model} has no tag {tag!r}{closest(tag, tags)}: its tags are {_listed(tags)}")
    if not spec.weights:
        published = [name for name, settings in tags.items() if settings.has_weights]
        if tag in published:
            return Weights(spec.model, spec.model, None, {})
        known = f"write timm:{model}.TAG with TAG one of {_listed(published)}" if published else "pass a file"
        raise InputError(f"backbone {spec}: no weights are published under that name; {known}")
    path = Path(spec.weights).expanduser()
    if path.is_dir():
        return _of_folder(spec, model, path)
    return _of_file(spec, model, tag, existing(path), tags)


def load_model(weights: Weights) -> Any:
    """Create the network without its classifier, on the CPU, in float32, with its weights.

    Raises:
        InputError: weights that cannot be had, read or fitted.
    """
    import timm

    if weights.file is None:
        try:
            with quiet("timm"), quiet("huggingface_hub"):
                return timm.create_model(weights.create, pretrained=True, num_classes=0)
        except Exception as error:  # hub, proxy, disk: each with its own exception types
            raise InputError(
                f"weights of {weights.name} are not on this machine and cannot be downloaded ({one_line(error)}): "
                "fetch model.safetensors where there is a network and pass the file: "
                f"timm:{weights.name}@/path/to/model.safetensors"
            ) from error
    tensors = read_tensors(weights.file)
    model = _create(weights, num_classes=0)
    if problem := _problem(weights, model.state_dict(), tensors):
        raise InputError(f"weights file {weights.file} does not fit timm model {weights.name}: {problem}")
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})
    return model


def _create(weights: Weights, **settings: Any) -> Any:
    import timm

    try:
        with quiet("timm"):
            return timm.create_model(weights.create, pretrained=False, **settings)
    except Exception as error:  # networks raise what they like at arguments that a configuration gives them
        raise InputError(f"timm model {weights.name} cannot be created ({one_line(error)})") from error


def _problem(weights: Weights, state: Mapping[str, Any], tensors: Mapping[str, Any]) -> str:
    if missing := [name for name in state if name not in tensors]:
        return f"it lacks {_listed(missing)}"
    if other := other_shape({name: tuple(tensor.shape) for name, tensor in tensors.items()}, state):
        return other
    extra = [name for name in tensors if name not in state]
    if extra:  # the classifier is what the whole network has and this one has not
        whole = _create(weights).state_dict()
        extra = [name for name in extra if name not in whole]
    return f"it holds {_listed(extra)}, which the model has not" if extra else ""


def _tags(model: str) -> dict[str, Any]:
    from timm.models import get_arch_pretrained_cfgs

    return {name.partition(".")[2]: settings for name, settings in get_arch_pretrained_cfgs(model).items()}


def _of_folder(spec: Spec, model: str, folder: Path) -> Weights:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        architecture, args = str(config["architecture"]), dict(config.get("model_args") or {})
    except FileNotFoundError:
        raise InputError(f"folder {folder} holds no config.json as timm saves it; pass the weights file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a timm configuration ({one_line(error)})") from None
    if architecture != model:
        raise InputError(f"folder {folder} holds {architecture}, not {model}: write timm:{architecture}@{folder}")
    files = [folder / name for name in _FOLDER_FILES if (folder / name).is_file()]
    if not files:
        raise InputError(f"folder {folder} holds no {' or '.join(_FOLDER_FILES)}")
    return Weights(spec.model, f"local-dir:{folder}", files[0], args)


def _of_file(spec: Spec, model: str, tag: str, file: Path, tags: Mapping[str, Any]) -> Weights:
    import timm.data

    data: Any = timm.data  # untyped
    if not tag:
        known = {name: settings.to_dict() for name, settings in tags.items() if settings.has_weights}
        for name, settings in known.items():
            if is_file_of(settings, f"timm/{model}.{name}", file):
                return Weights(f"{model}.{name}", f"{model}.{name}", file, {})
        configs = [data.resolve_data_config(pretrained_cfg=settings) for settings in known.values()]
        if any(config != configs[0] for config in configs):
            raise InputError(
                f"weights file {file}: the weights of {model} differ in image preprocessing, and the file does not say "
                f"which it needs; name its tag: timm:{model}.TAG@{file} with TAG one of {_listed(known)}"
            )
    return Weights(spec.model, spec.model, file, {})


def _listed(names: Any, most: int = 12) -> str:
    names = [name or "(none)" for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") or "none"
