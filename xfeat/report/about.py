"""The section that says what was run: method, seeds, settings, caches, versions."""

from collections.abc import Mapping
from typing import Any

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.registry import METHODS
from xfeat.report.blocks import Block, Facts, Section, Table
from xfeat.report.subject import Subject
from xfeat.training.run import RunConfig
from xfeat.training.store import load_note

SHORT = 12  # digits of a digest


def about(subject: Subject) -> Section:
    """Everything that decided the numbers."""
    config, runs = subject.config, subject.runs
    method = METHODS.get(config.method)
    facts = [("method", f"{config.method}: {method.about}" if method else config.method)]
    facts.append(("seeds" if subject.several else "seed", ", ".join(map(str, runs))))
    if subject.several:
        facts.append(("runs", ", ".join(run.name for run in runs.values())))
        facts.append(("pictures and curves of", subject.first.path.name))
    if config.classes:
        facts.append(("classes", f"{len(config.classes):,}"))
    facts.append(("versions", ", ".join(f"{name} {version}" for name, version in config.versions.items())))
    notes = {name: load_note(subject.first.branch_file(name).with_suffix(".json")) for name in config.modalities}
    blocks: list[Block] = [Facts(facts), _features(subject), _branches(notes)]
    changed = _changed(config)
    if changed:
        blocks.append(
            Table(["setting", "value", "default"], changed, words=3, title="Settings that differ from the default")
        )
    else:
        blocks.append(Facts([("settings", "all as by default")]))
    resolved = next(iter(notes.values())).get("settings")
    if isinstance(resolved, dict):
        items = [(name, _said(value)) for name, value in resolved.items()]
        blocks.append(Facts(items, f"All settings, as resolved for {next(iter(notes))}", folded=True))
    return Section("about", "What was run", blocks=blocks)


def _features(subject: Subject) -> Table:
    rows = []
    for name, source in subject.config.modalities.items():
        made = _made(subject, name)
        backbone = str(made.get("backbone") or made.get("family") or "–")
        weights = _weights(made)[:SHORT] or ("none" if made else "–")
        content = [source.fingerprint[:SHORT], source.content[:SHORT], f"{source.rows:,}", f"{source.dim:,}"]
        rows.append([name, backbone, weights, *content, source.relative])
    header = ["modality", "backbone", "weights", "fingerprint", "content", "rows", "dim", "cache"]
    caption = "Weights, fingerprint (all that decided the features) and content (features and columns): "
    caption += f"the first {SHORT} digits of SHA-256. Caches are named from the run's folder."
    return Table(header, rows, words=5, title="Features", caption=caption)


def _branches(notes: Mapping[str, Mapping[str, Any]]) -> Table:
    fields = ("out_dim", "train_rows", "epoch")
    rows = [
        [name, *(_said(note.get(field)) for field in fields), str(note.get("sha256", ""))[:SHORT]]
        for name, note in notes.items()
    ]
    return Table(["modality", "out", "trained on", "epoch", "branch"], rows, title="Branches")


def _made(subject: Subject, modality: str) -> Mapping[str, Any]:
    """The fingerprint of the features; nothing where the cache is gone."""
    try:
        source = subject.config.modalities[modality]
        cache: FeatureCache = subject.first.open_cache(modality, source, allow_changed=True)
    except InputError:
        return {}
    return cache.manifest.fingerprint


def _weights(made: Any) -> str:
    """The digest of a backbone's weights, wherever its fingerprint has it; empty where it has none."""
    if not isinstance(made, Mapping):
        return ""
    own = made.get("weights_sha256")
    return str(own) if own else next((found for one in made.values() if (found := _weights(one))), "")


def _changed(config: RunConfig) -> list[list[str]]:
    """Settings that were asked for: name, value, default."""
    method = METHODS.get(config.method)
    fields = method.settings.model_fields if method else {}
    rows = []
    for name, value in config.settings.items():
        if name not in fields:
            rows.append([name, _said(value), "–"])
        elif (default := fields[name].get_default(call_default_factory=True)) != value:
            rows.append([name, _said(value), "by size" if default is None else _said(default)])
    return rows


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(one)}" for name, one in value.items()) or "none"
    return str(value)
