"""New classes arrive for a DRCL run: a new run that knows them; the given one is only read.

- A class is new to a branch that had no training rows of it. Classes that the run does not know at all get columns in
  the prior, after those that are there (see ``xfeat.methods.drcl_growth``); what old labels are recast to stays.
- A branch whose cache has training rows of classes new to it is trained on, shortly, on rows of old and new classes,
  its input scale unchanged. Every other branch keeps its bytes, its note and its cache.
- A cache must hold training rows of every class that its branch knows: what is not rehearsed is forgotten.
- Rows that were held out from a branch stay held out, where its cache is still there. Test rows are not read.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.drcl_growth import Tune, new_columns
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.settings import validated
from xfeat.training.branch_growth import STAGE, BranchGrowth
from xfeat.training.branches import METHOD
from xfeat.training.group import is_group
from xfeat.training.grown_rows import GrownCache, held_out_file
from xfeat.training.growth import GROWTH, classes_then, load_growth
from xfeat.training.growth_plan import GrowthPlan, plan_growth
from xfeat.training.growth_report import Items, growth_report
from xfeat.training.joining import JOINED
from xfeat.training.prior_files import read_run_prior
from xfeat.training.run import Run, RunConfig, Source, source_of, versions
from xfeat.training.seeds import seeded
from xfeat.training.store import Prior, StoredBranch, is_done, load_branch, save_note, save_prior
from xfeat.training.whole_folder import check_vacant, whole_folder

REPORT = "add_class.json"


@dataclass(frozen=True)
class Grown:
    """What adding classes left behind.

    Attributes:
        report: as add_class.json keeps it.
        notes: what a user should know, one line each.
    """

    report: dict[str, Any]
    notes: list[str]


def add_class(
    caches: Sequence[FeatureCache],
    run_path: Path,
    out: Path,
    *,
    tune: Tune = "all",
    device: torch.device | None = None,
) -> Grown:
    """Make a run that knows more classes from one that is finished.

    Args:
        caches: grown caches, one per modality at most, with rows of old and new classes; not every modality needs one.
        run_path: a finished DRCL run; it is only read.
        out: folder of the new run; missing or empty. It is there whole or not at all.
        tune: ``output`` trains the output layers alone, ``all`` the whole of each branch.
        device: where to train; the CPU by default.

    Returns:
        The report: what retrieval on validation rows was and is, and which branches changed.

    Raises:
        InputError: no such run, caches that do not fit it or teach nothing new, no room in the shared space, or a
            folder that holds something.
    """
    check_vacant(out)
    run, config = _finished(run_path)
    settings = validated(DrclSettings, config.settings)
    prior, note = read_run_prior(run)
    plan = plan_growth(run, config, prior, caches)
    trainer = BranchGrowth(run, settings, config.seed, plan.classes, tune, device or torch.device("cpu"))
    growing = _Growing(run, config, prior, note, plan, trainer)
    with whole_folder(out, STAGE) as folder:
        return growing.build(Run(folder), out.resolve())


def _finished(path: Path) -> tuple[Run, RunConfig]:
    if is_group(path):
        raise InputError(f"{path} holds a group of seeds: name one of its runs, for example {path}/seed0")
    run = Run(path)
    config = run.load_config()
    if config.method != METHOD:
        raise InputError(f"{path} was trained with {config.method}, which takes no new classes")
    if unfinished := [name for name in config.modalities if not is_done(run.branch_file(name))]:
        names = ", ".join(unfinished)
        raise InputError(f"{path} is not finished (no branch of {names}): first `xfeat train ... --resume`")
    return run, config


@dataclass(frozen=True)
class _Growing:
    run: Run
    config: RunConfig
    prior: Prior
    note: dict[str, Any]
    plan: GrowthPlan
    trainer: BranchGrowth

    def build(self, target: Run, out: Path) -> Grown:
        """Write the new run into ``target``, which will be ``out``."""
        plan, config = self.plan, self.config
        heads = {name: load_branch(self.run.branch_file(name)) for name in config.modalities}
        before, means, notes = self._as_it_was(heads)
        self._copy(target)
        prior = self._grown_prior(means, target)
        after, branches = dict(before), {}
        for name, head in heads.items():
            note = head.note
            if name in plan.learned:
                known = {*plan.known[name], *plan.learned[name]}
                untrained = [one for one in plan.classes if one not in known]
                after[name], note = self.trainer.train(plan.caches[name], head, prior, untrained, target)
            branches[name] = {
                "changed": name in plan.learned,
                "learned": plan.learned.get(name, []),
                **{key: note[key] for key in ("sha256", "epoch", "epochs", "train_rows", "val_rows")},
            }
        sources = {name: self._source(name, source, out) for name, source in config.modalities.items()}
        target.save_config(replace(config, classes=plan.classes, modalities=sources, versions=versions()))
        report = {
            "tune": self.trainer.tune,
            "added": plan.added,
            "new": plan.new,
            "classes": len(plan.classes),
            "rows": "validation",
            "prior_sha256": {"before": self.prior.sha256, "after": prior.sha256},
            "branches": branches,
            **growth_report(before, after, plan.classes, plan.new, self.trainer.settings.relevance),
        }
        save_note(target.path / REPORT, report)
        return Grown(report, [*plan.notes, *notes])

    def _as_it_was(self, heads: Mapping[str, StoredBranch]) -> tuple[dict[str, Items], dict[str, Tensor], list[str]]:
        """Validation rows by modality under the old branches, the mean embedding of each added class, and notes."""
        items: dict[str, Items] = {}
        seen = [name for name, head in heads.items() if not head.note["val_rows"]]
        notes = [f"nothing had been held out from {', '.join(seen)}: before is on rows trained on"] if seen else []
        found: dict[str, list[Tensor]] = {name: [] for name in self.plan.added}
        for name, head in heads.items():
            grown = self.plan.caches[name] if name in self.plan.learned else None
            try:
                grown = grown or self._own_cache(name, head)
            except InputError as error:
                notes.append(f"{name} is left out of the comparison: {error}")
                continue
            items[name], means = self.trainer.look(grown, head)
            for label in found.keys() & means.keys():
                found[label].append(means[label])
        return items, {name: torch.stack(some).mean(dim=0) for name, some in found.items()}, notes

    def _own_cache(self, name: str, head: StoredBranch) -> GrownCache:
        cache = self.run.open_cache(name, self.config.modalities[name])
        return GrownCache(cache, cache, classes_then(self.run, self.config.classes, head.note))

    def _copy(self, target: Run) -> None:
        for folder in ("branches", "candidates", held_out_file(self.run, "").parent.name):
            if (self.run.path / folder).is_dir():
                shutil.copytree(self.run.path / folder, target.path / folder)
        for name in (self.run.log_file.name, JOINED):
            if (self.run.path / name).is_file():
                shutil.copyfile(self.run.path / name, target.path / name)

    def _grown_prior(self, means: Mapping[str, Tensor], target: Run) -> Prior:
        added, weight = self.plan.added, self.prior.weight
        if added:
            mean = torch.stack([means[name] for name in added], dim=1)
            spare = torch.stack([self._random(name) for name in added], dim=1)
            weight = torch.cat([weight, new_columns(weight, mean, spare)], dim=1)
        classes = self.plan.classes
        sha = save_prior(target.prior_file, weight, classes)
        entry = {
            "classes": added,
            "prior_sha256": self.prior.sha256,
            "trained": dict(self.plan.learned),
            "tune": self.trainer.tune,
        }
        grown = {"classes": classes, "shape": list(weight.shape), "sha256": sha}
        save_note(target.prior_note, {**self.note, **grown, GROWTH: [*load_growth(self.run), entry]})
        return Prior(weight, classes, sha)

    def _random(self, name: str) -> Tensor:
        rows, cpu = len(self.prior.weight), torch.device("cpu")
        return seeded(lambda: torch.randn(rows), cpu, self.config.seed, "prior", STAGE, name)[0]

    def _source(self, name: str, source: Source, out: Path) -> Source:
        if name in self.plan.learned:
            return source_of(self.plan.caches[name].cache, out, added=source.added)
        places = (Path(source.cache), self.run.path / source.relative)
        here = next((place for place in places if place.is_dir()), places[1]).resolve()
        return replace(source, relative=Path(os.path.relpath(here, out)).as_posix())
