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
    blocks: list[Block] = [Facts(facts), _modalities(subject, notes)]
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


def _modalities(subject: Subject, notes: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for name, source in subject.config.modalities.items():
        note = notes[name]
        rows.append(
            [
                name,
                _backbone(subject, name),
                source.relative,
                f"{source.rows:,}",
                f"{source.dim:,}",
                _said(note.get("out_dim")),
                _said(note.get("train_rows")),
                _said(note.get("epoch")),
                str(note.get("sha256", ""))[:8],
            ]
        )
    header = ["modality", "features", "cache", "rows", "dim", "out", "trained on", "epoch", "branch"]
    return Table(header, rows, words=3, title="Modalities", caption="Caches are named from the run's folder.")


def _backbone(subject: Subject, modality: str) -> str:
    """What made the features, in a word; nothing where the cache is gone."""
    try:
        source = subject.config.modalities[modality]
        cache: FeatureCache = subject.first.open_cache(modality, source, allow_changed=True)
    except InputError:
        return "–"
    config = cache.manifest.fingerprint
    return str(config.get("backbone") or config.get("family") or "–")


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
