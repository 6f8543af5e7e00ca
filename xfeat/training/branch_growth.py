"""Trains a branch that is there on a cache that grew. No other modality is in sight here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xfeat.heads import Branch, Recast
from xfeat.methods.base import BranchData, Rows
from xfeat.methods.drcl import embed
from xfeat.methods.drcl_growth import GrowthStage, Tune, growth_settings
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.progress import progress
from xfeat.training.checkpoint import Best
from xfeat.training.data import ModalityRows
from xfeat.training.grown_rows import GrownCache, save_held_out
from xfeat.training.growth import load_growth
from xfeat.training.growth_report import Items
from xfeat.training.loop import Place, fit
from xfeat.training.memory import memory_budget
from xfeat.training.run import Run
from xfeat.training.selection import Selection
from xfeat.training.store import Prior, StoredBranch, load_branch, save_branch

STAGE = "add-class"
# Settings that are the branch's own, whatever presets have become since it was trained.
SHAPE = ("hidden", "layers", "bias_length", "skip", "dropout", "input_noise", "logit_scale", "q_max", "embedding")


@dataclass(frozen=True)
class BranchGrowth:
    """Trains single branches of a run that grows.

    Attributes:
        run: before it grew; it is only read.
        settings: of the run.
        seed: of the run.
        classes: of the grown run.
        tune: what of a branch is trained.
        device: where to train.
    """

    run: Run
    settings: DrclSettings
    seed: int
    classes: Sequence[str]
    tune: Tune
    device: torch.device

    def look(self, grown: GrownCache, head: StoredBranch) -> tuple[Items, dict[str, Tensor]]:
        """Validation rows under the branch as it was, and the mean embedding (O,) of each class's training rows."""
        data, _ = self._data(grown, head)
        means = _class_means(head.head.to(self.device), data.train)
        return self._items(head, data.val), {self.classes[place]: mean for place, mean in means.items()}

    def train(
        self, grown: GrownCache, head: StoredBranch, prior: Prior, untrained: Sequence[str], target: Run
    ) -> tuple[Items, dict[str, Any]]:
        """Train a branch on, into another run.

        Args:
            grown: its rows.
            head: the branch as it was.
            prior: of the grown run.
            untrained: classes that it will still not know.
            target: the grown run.

        Returns:
            Validation rows under the branch as it is now, and its note.
        """
        name = grown.modality
        data, selection = self._data(grown, head)
        settings = self._settings(data, head)
        weight, old = prior.weight.to(self.device), head.head.state_dict()
        with progress(f"{name} {STAGE}", settings.epochs or 1) as advance:
            place = Place(
                self.device,
                self.seed,
                (name, STAGE, str(len(load_growth(self.run)) + 1)),
                settings.compile,
                log=lambda row: target.append_log({"modality": name, "stage": STAGE, **row}),
                advance=advance,
            )
            best = fit(lambda: GrowthStage(data, weight, settings, old, self.tune), place)
        note = {
            **head.note,
            "content": grown.cache.manifest.content,
            "untrained_classes": list(untrained),
            **_trained(data, settings, best),
            "prior_sha256": prior.sha256,
            "tune": self.tune,
            "grown_from": head.note["sha256"],
        }
        if "val" not in grown.cache.manifest.counts["split"]:
            save_held_out(target, name, selection)
        readout = Recast(prior.weight, settings.logit_scale or 1.0) if head.readout else None
        file = target.branch_file(name)
        save_branch(file, best.tensors, head.scale, note, readout)
        made = load_branch(file)
        return self._items(made, data.val), made.note

    def _settings(self, data: BranchData, head: StoredBranch) -> DrclSettings:
        resolved = self.settings.resolved(len(data.train), data.classes, out=head.note["out_dim"])
        own = {name: value for name, value in head.note["settings"].items() if name in SHAPE and value is not None}
        return growth_settings(resolved.model_copy(update=own), self.tune)

    def _data(self, grown: GrownCache, head: StoredBranch) -> tuple[BranchData, Selection]:
        s = self.settings
        rows = ModalityRows(grown.cache, self.classes, self.device, memory_budget(s.memory, self.device))
        rows.selection = grown.selection(self.classes, self.run, s.val_fraction, self.seed)
        # Under another scale the branch would embed everything elsewhere.
        data, _ = rows.branch_data(
            standardize=s.standardize, val_fraction=s.val_fraction, seed=self.seed, scale=head.scale
        )
        return data, rows.selection

    @torch.no_grad()
    def _items(self, branch: StoredBranch, rows: Rows) -> Items:
        head, readout = branch.head.to(self.device), branch.readout and branch.readout.to(self.device)
        vectors, hot = [], []
        for x, y in rows.pieces():
            z = embed(head, x)
            vectors.append(readout(z) if readout else z)
            hot.append((y > 0).to(torch.uint8))
        return Items(torch.cat(vectors), torch.cat(hot), branch.similarity)


def _trained(data: BranchData, settings: DrclSettings, best: Best) -> dict[str, Any]:
    return {
        "train_rows": len(data.train),
        "val_rows": len(data.val),
        "unlabelled_rows": data.unlabelled,
        "epoch": best.epoch,
        "epochs": settings.epochs,
        "score": best.score,
        "settings": settings.model_dump(),
    }


@torch.no_grad()
def _class_means(head: Branch, rows: Rows) -> dict[int, Tensor]:
    """(O,) float32 on the CPU by the class's place, of classes that have rows; a row of k classes counts 1/k."""
    parts = [(y.T @ embed(head, x), y.sum(dim=0)) for x, y in rows.pieces()]
    total, weight = (torch.stack(part).sum(dim=0).cpu() for part in zip(*parts, strict=True))
    return {place: total[place] / weight[place] for place in torch.nonzero(weight > 0).flatten().tolist()}
