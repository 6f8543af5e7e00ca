"""All methods and baselines on the same rows, many seeds of each, with tests of their differences.

    python benchmarks/comparison.py --data ../shared/data --work FOLDER

Trains every method of `xfeat methods` with its shipped defaults on wikipedia, mfeat (six views; the rows of a digit
share a pair key) and digits (spoken and written, unpaired), as one group of seeds each; prints a table for each set:
category protocol, split test, means over ordered pairs, as `xfeat compare` gives them. What is trained stays in the
work folder: an interrupted command goes on where it was, and seconds add up over its sessions. Test rows are read by
the comparison alone.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from open_data import digits, wikipedia
from sspc_quality import mfeat_pairs

from xfeat.cache import FeatureCache
from xfeat.compare.comparison import Comparison, RunScore, compare
from xfeat.errors import InputError
from xfeat.methods.registry import METHODS
from xfeat.training.asked import Asked
from xfeat.training.device import find_device
from xfeat.training.group import members
from xfeat.training.trainers import TRAINERS

SETS: dict[str, Callable[[Path, Path], list[FeatureCache]]] = {
    "wikipedia": wikipedia,
    "mfeat": mfeat_pairs,
    "digits": digits,
}
WORDS = 100  # characters of a reason


def train_all(
    caches: Sequence[FeatureCache], work: Path, methods: Sequence[str], seeds: Sequence[int], device: torch.device
) -> tuple[dict[str, Path], dict[str, str]]:
    """Groups by method, and why the others have none."""
    groups, reasons = {}, {}
    for method in methods:
        out = work / "runs" / f"{method}-{'_'.join(map(str, seeds))}"
        started = time.perf_counter()
        try:
            TRAINERS[method].group(caches, out, METHODS[method].settings(), seeds, device=device, resume=True)
        except InputError as error:
            reasons[method] = shortened(str(error), work / "cache")
        else:
            groups[method] = out
        finally:
            _add_seconds(out, time.perf_counter() - started)
        print(f"<!-- {work.name} {method}: {reasons.get(method, f'{seconds_of(out):.0f} s')} -->", flush=True)
    return groups, reasons


def _times(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def seconds_of(out: Path) -> float:
    """How long a group took to train, over all sessions."""
    return float(json.loads(_times(out).read_text())["seconds"]) if _times(out).is_file() else 0.0


def _add_seconds(out: Path, seconds: float) -> None:
    """A finished group is looked at again in an instant: that is no training."""
    before = json.loads(_times(out).read_text()) if _times(out).is_file() else {"seconds": 0.0, "finished": False}
    if not before["finished"]:
        total = {"seconds": before["seconds"] + seconds, "finished": _finished(out)}
        out.parent.mkdir(parents=True, exist_ok=True)
        _times(out).write_text(json.dumps(total))


def _finished(out: Path) -> bool:
    try:
        return bool(members(out))
    except InputError:
        return False


def shortened(reason: str, folder: Path) -> str:
    """The error's own words, without folders and what to do about it."""
    words = reason.replace(f"{folder}/", "").split(": ")[0]
    return words if len(words) <= WORDS else words[: WORDS - 3] + "..."


def table(result: Comparison, seconds: dict[str, float], reasons: dict[str, str]) -> list[str]:
    """Markdown, best first; what could not run last."""
    level = f"{100 * (1 - result.alpha):g}% interval"
    lines = [
        f"| method | mAP@all mean +- sd | mAP@50 | chance | less the best | {level} | p (Holm) | real | s, all seeds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in result.runs:
        cells = [run.label, _score(run), f"{run.means['mAP@50']:.4f}", f"{result.chance or 0:.3f}"]
        lines.append(f"| {' | '.join([*cells, *_against_best(result, run), f'{seconds[run.label]:.0f}'])} |")
    lines += [f"| {method} | {reason} | | | | | | | |" for method, reason in reasons.items()]
    return lines


def _score(run: RunScore) -> str:
    return f"{run.mean:.4f}" + ("" if run.spread is None else f" +- {run.spread:.4f}")


def _against_best(result: Comparison, run: RunScore) -> list[str]:
    versus = result.versus(result.best.label, run.label) if run is not result.best else None
    if versus is None:
        return ["-", "-", "-", "-"]
    low, high = versus.interval
    return [
        f"{-versus.difference:+.4f}",
        f"{-high:+.4f} to {-low:+.4f}",
        f"{versus.p_holm:.4f}",
        "yes" if versus.real else "no",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("XFEAT_SHARED_DATA", "../shared/data")))
    parser.add_argument("--work", type=Path, required=True, help="folder of caches and runs; kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = find_device(options.device)
    for name in options.sets:
        work = options.work / name
        caches = SETS[name](options.data, work / "cache")
        groups, reasons = train_all(caches, work, options.methods, options.seeds, device)
        result = compare(list(groups.values()), Asked("test", "category"), device, labels=list(groups))
        (work / "comparison.json").write_text(json.dumps(result.to_json(), indent=1) + "\n")
        sizes = ", ".join(f"{modality} {rows:,}" for modality, rows in result.rows.items())
        print(f"\n{name}: category protocol, split test ({sizes}), {len(result.best.pairs)} ordered pairs,")
        print(f"seeds {' '.join(map(str, options.seeds))}; {result.units:,} units ({result.unit}), Holm over")
        print(f"{len(result.comparisons)} comparisons (all pairs), torch {torch.__version__} on {device}\n")
        print("\n".join(table(result, {label: seconds_of(out) for label, out in groups.items()}, reasons)), flush=True)
        if same := [run.label for run in result.runs if run.deterministic]:
            print(f"\nAll seeds give the same numbers: {', '.join(same)}.", flush=True)


if __name__ == "__main__":
    main()
