"""Finds a backbone by its SPEC; other packages add families through the entry-point group ``xfeat.backbones``."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from xfeat.backbones.base import KINDS, Backbone, Setup, Spec, parse_spec
from xfeat.backbones.filters_audio import LogMelBackbone
from xfeat.backbones.filters_image import HogBackbone
from xfeat.backbones.filters_strokes import StrokesBackbone
from xfeat.backbones.filters_text import HashingBackbone
from xfeat.errors import InputError

GROUP = "xfeat.backbones"
Opener = Callable[[Spec, str, Setup], Backbone]


@dataclass(frozen=True)
class Model:
    """One line of ``xfeat backbones``.

    Attributes:
        name: a model, or a pattern such as ``MODEL@WEIGHTS`` where a family takes many.
        kinds: what it can read, of ``image``, ``text``, ``audio``, ``strokes``, ``video``.
        dim: width of its features in words, for example ``864`` or ``by model``.
        about: a few words.
        needs: an extra or a package beyond the core, empty for none.
    """

    name: str
    kinds: tuple[str, ...]
    dim: str
    about: str = ""
    needs: str = ""


@dataclass(frozen=True)
class Family:
    """What an entry point of the group ``xfeat.backbones`` names; the entry point's own name is the family's.

    Attributes:
        open: called with (spec, kind, setup); returns a backbone or raises ``InputError``. It should import
            its libraries only when it is called.
        models: what the family offers.
        closed: the models are all there are; any other name is an error.

    Example:
        >>> Family(open=print, models=(Model("tiny", ("image",), "8"),)).kinds("tiny")
        ('image',)
    """

    open: Opener
    models: tuple[Model, ...]
    closed: bool = True

    def kinds(self, model: str) -> tuple[str, ...]:
        """What a model reads; what the whole family reads where the model is not listed."""
        exact = [entry for entry in self.models if entry.name == model]
        found = {kind for entry in exact or self.models for kind in entry.kinds}
        return tuple(kind for kind in KINDS if kind in found)


_FILTERS: dict[str, tuple[Callable[[], Backbone], Model]] = {
    model: (backbone, Model(model, (backbone.kind,), str(backbone.dim), about))
    for model, backbone, about in (
        ("hog", HogBackbone, "oriented gradients and colours; no learned weights"),
        ("hashing", HashingBackbone, "hashed character and word n-grams; no learned weights"),
        ("logmel", LogMelBackbone, "log-mel spectrogram statistics; no learned weights"),
        ("strokes", StrokesBackbone, "directions of pen strokes; no learned weights"),
    )
}


def _open_filters(spec: Spec, kind: str, setup: Setup) -> Backbone:  # noqa: ARG001 (NumPy: one device, one precision)
    if spec.weights:
        raise InputError(f"backbone {spec}: filters have no weights; write {spec.family}:{spec.model}")
    return _FILTERS[spec.model][0]()


def _open_clip(spec: Spec, kind: str, setup: Setup) -> Backbone:
    from xfeat.backbones.open_clip import open_tower

    return open_tower(spec, kind, setup)


def _timm(spec: Spec, kind: str, setup: Setup) -> Backbone:  # noqa: ARG001 (one kind)
    from xfeat.backbones.timm import open_images

    return open_images(spec, setup)


def _sentence_transformers(spec: Spec, kind: str, setup: Setup) -> Backbone:  # noqa: ARG001 (one kind)
    from xfeat.backbones.sentence_transformers import open_texts

    return open_texts(spec, setup)


def _clap(spec: Spec, kind: str, setup: Setup) -> Backbone:
    from xfeat.backbones.clap import open_tower

    return open_tower(spec, kind, setup)


def _video(spec: Spec, kind: str, setup: Setup) -> Backbone:  # noqa: ARG001 (one kind)
    from xfeat.backbones.video import open_frames

    return open_frames(spec, setup)


_BUILT_IN = {
    "filters": Family(_open_filters, tuple(model for _, model in _FILTERS.values())),
    "open_clip": Family(
        _open_clip,
        (
            Model("MODEL@TAG", ("image", "text"), "by model", "weights from the hub, e.g. ViT-B-32@laion2b_s34b_b79k"),
            Model("MODEL@FILE", ("image", "text"), "by model", "weights from a .safetensors or .pt file"),
        ),
        closed=False,
    ),
    "timm": Family(
        _timm,
        (
            Model("MODEL.TAG", ("image",), "by model", "weights from the hub, e.g. vit_small_patch16_224.augreg_in1k"),
            Model("MODEL.TAG@FILE", ("image",), "by model", "weights from a .safetensors or .pt file"),
            Model("MODEL@FOLDER", ("image",), "by model", "from a folder with a model that timm saved"),
        ),
        closed=False,
    ),
    "sentence-transformers": Family(
        _sentence_transformers,
        (
            Model("NAME", ("text",), "by model", "from the hub, e.g. all-MiniLM-L6-v2", "xfeat[text]"),
            Model("NAME@FOLDER", ("text",), "by model", "from a folder that holds a saved model", "xfeat[text]"),
        ),
        closed=False,
    ),
    "clap": Family(
        _clap,
        (
            Model("NAME", ("audio", "text"), "by model", "from the hub, e.g. laion/clap-htsat-unfused", "xfeat[audio]"),
            Model("NAME@FOLDER", ("audio", "text"), "by model", "from a folder with a saved model", "xfeat[audio]"),
        ),
        closed=False,
    ),
    "video": Family(
        _video,
        (Model("SPEC", ("video",), "as SPEC", "frames by any image backbone, e.g. video:filters:hog", "xfeat[video]"),),
        closed=False,
    ),
}


def open_backbone(spec: str, kind: str | None = None, setup: Setup | None = None) -> Backbone:
    """Load a backbone.

    Args:
        spec: ``family:model[@weights]``.
        kind: what to read, of ``KINDS``; None where the model reads one kind only.
        setup: how it runs; None is the default setup.

    Raises:
        InputError: no such family, model or weights; a kind it does not read; a package that is missing or broken.
    """
    wanted = parse_spec(spec)
    family = _family(wanted.family)
    kinds = _kinds(family, wanted)
    if kind is None:
        if len(kinds) != 1:
            raise InputError(f"backbone {spec} reads {' and '.join(kinds)}: choose one with --kind")
        kind = kinds[0]
    if kind not in kinds:
        fitting = sorted(f"{name}:{m.name}" for name, m in list_backbones() if kind in m.kinds)
        raise InputError(f"backbone {spec} reads {' and '.join(kinds)}, not {kind}; for {kind}: {', '.join(fitting)}")
    return family.open(wanted, kind, setup or Setup())


def backbone_kinds(spec: str) -> tuple[str, ...]:
    """The kinds a SPEC can read, without loading it.

    Raises:
        InputError: no such family or model.
    """
    wanted = parse_spec(spec)
    return _kinds(_family(wanted.family), wanted)


def list_backbones() -> list[tuple[str, Model]]:
    """Every (family, model) on offer, built-in families first. A family whose package is broken is listed as such."""
    rows = [(name, model) for name, family in _BUILT_IN.items() for model in family.models]
    for name in sorted(_plugins()):
        try:
            rows += [(name, model) for model in _family(name).models]
        except InputError as error:
            rows.append((name, Model("-", (), "-", f"broken: {error}")))
    return rows


def closest(name: str, choices: Iterable[str]) -> str:
    """Words for an error line: the names nearest to a mistyped one, or nothing."""
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(by_lower[match] for match in near)}?)" if near else ""


def _kinds(family: Family, spec: Spec) -> tuple[str, ...]:
    names = [model.name for model in family.models]
    if family.closed and spec.model not in names:
        hint = closest(spec.model, names)
        raise InputError(f"no model {spec.model!r} in family {spec.family!r}{hint}: there is {', '.join(names)}")
    return family.kinds(spec.model)


def _family(name: str) -> Family:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    plugins = _plugins()
    if name not in plugins:
        names = sorted({*_BUILT_IN, *plugins})
        raise InputError(
            f"no backbone family {name!r}{closest(name, names)}: there is {', '.join(names)} (see `xfeat backbones`)"
        )
    try:
        loaded = plugins[name].load()
    except Exception as error:  # foreign code: whatever it raises at import is the user's to see in one line
        raise InputError(
            f"backbone family {name!r} ({plugins[name].value}) cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(loaded, Family):
        raise InputError(f"backbone family {name!r} ({plugins[name].value}) is not an xfeat.backbones.registry.Family")
    return loaded


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in _BUILT_IN}
