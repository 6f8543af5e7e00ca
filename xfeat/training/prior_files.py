"""Priors that travel: out of a run as a file of their own, and in from other programs' matrices."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfeat.cache.files import whole_file
from xfeat.errors import InputError
from xfeat.samples.importers.arrays import ArrayFile
from xfeat.samples.importers.npy import NAME as NPY_NAME
from xfeat.samples.importers.npy import open_npy
from xfeat.samples.importers.npz import open_npz
from xfeat.samples.labels import class_order
from xfeat.samples.tables import read_text
from xfeat.training.checkpoint import read_tensors
from xfeat.training.run import DRCL, ORTHOGONAL, Run
from xfeat.training.store import Prior, load_note, load_prior, save_prior, sha256

SUFFIX = ".safetensors"
USUAL_NAME = "W"


@dataclass(frozen=True)
class Imported:
    """A prior made from another program's matrix.

    Attributes:
        prior: as it lies in its file.
        rank: of W.
        reordered: its columns were put in the order of the class names.
    """

    prior: Prior
    rank: int
    reordered: bool


def read_run_prior(run: Run) -> tuple[Prior, dict[str, Any]]:
    """A run's prior and its note.

    Raises:
        InputError: no run, no prior in it yet, or a prior that is not the one its branches were trained against.
    """
    method = run.load_config().method
    if method not in (DRCL, ORTHOGONAL):
        raise InputError(f"{run.path} was trained with {method}, which has no prior: DRCL learns one")
    if not (run.prior_file.is_file() and run.prior_note.is_file()):
        raise InputError(f"{run.path} has no prior yet: `xfeat train ... --resume` finishes it")
    prior, note = load_prior(run.prior_file), load_note(run.prior_note)
    if note.get("sha256") != prior.sha256:
        raise InputError(f"{run.prior_file} is not the prior that {run.prior_note.name} was written for: put it back")
    return prior, note


def export_prior(run: Run, out: Path, candidate: str | None = None) -> Prior:
    """Copy a run's prior, or one modality's candidate, byte for byte.

    Args:
        run: whose prior.
        out: the file to write; one that holds the same prior already is left as it is.
        candidate: a modality; the chosen prior if None.

    Raises:
        InputError: no such prior or candidate, or another file is in the way.
    """
    _check_suffix(out)
    prior, note = read_run_prior(run)
    file = run.prior_file
    if candidate is not None:
        there = list(note["candidates"])
        if candidate not in there:
            raise InputError(f"{run.path} has no candidate of {candidate!r} (there are: {', '.join(there) or 'none'})")
        file = run.candidate_file(candidate)
        prior = load_prior(file)
        if prior.sha256 != note["candidates"][candidate]["sha256"]:
            raise InputError(f"{file} is not the candidate that {run.prior_note} names: put it back")
    copy_whole(file, out, prior.sha256)
    return prior


def copy_whole(source: Path, target: Path, wanted: str) -> None:
    """Copy a file so that the target is there whole or not at all, and is what it should be.

    Args:
        source: an existing file.
        target: where it goes; a file with the same content is left as it is.
        wanted: sha256 the copy must have.

    Raises:
        InputError: another file is in the way, the folder does not exist, or the copy is not what was asked for.
    """
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist")
    if target.exists():
        if target.is_file() and sha256(target) == wanted:
            return
        raise InputError(f"{target} exists and holds something else: choose another --out, or move it away")
    with whole_file(target) as tmp:
        shutil.copyfile(source, tmp)
        if sha256(tmp) != wanted:
            raise InputError(f"{source} changed while it was copied: run the command again")


def import_prior(path: Path, out: Path, classes: Path | None = None, name: str | None = None) -> Imported:
    """Make a prior of an O x C matrix from a .npy, .npz or .safetensors file.

    The columns are put in the order that training gives the classes, so a run against this prior holds the same bytes.

    Args:
        path: the matrix, of floating-point numbers.
        out: the file to write; one that holds the same prior already is left as it is.
        classes: text file, one class name per line in the order of the columns; for an xfeat prior its own if None.
        name: of the array in a .npz or .safetensors; ``W`` or the only one if None.

    Raises:
        InputError: a file that cannot be read, a matrix that is no prior, names that do not fit it.
    """
    _check_suffix(out)
    weight, names = _read_matrix(path, name)
    if classes is not None:
        names = read_class_names(classes)
    if names is None:
        raise InputError(f"{path} holds no class names: give --classes FILE.txt, one name per line, one per column")
    _check_matrix(path, weight, names)
    order = class_order(names)
    weight = weight[:, [names.index(one) for one in order]].float()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / out.name
        sha = save_prior(made, weight, order)
        copy_whole(made, out, sha)
    return Imported(Prior(weight, order, sha), int(torch.linalg.matrix_rank(weight)), order != names)


def read_class_names(path: Path) -> list[str]:
    """Class names of a text file, one per line, spaces around them dropped.

    Raises:
        InputError: the file cannot be read, is empty, or has an empty line or a name twice.
    """
    lines = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if not lines:
        raise InputError(f"{path} is empty: write one class name per line")
    first: dict[str, int] = {}
    for number, name in enumerate(lines, start=1):
        if not name:
            raise InputError(f"{path}, line {number}: empty; every line is the name of a class")
        if name in first:
            raise InputError(f"{path}, line {number}: class {name!r} was named in line {first[name]} already")
        first[name] = number
    return lines


def _check_suffix(out: Path) -> None:
    if out.suffix != SUFFIX:
        raise InputError(f"--out {out}: a prior's file name ends in {SUFFIX}")


def _read_matrix(path: Path, name: str | None) -> tuple[Tensor, list[str] | None]:
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".npz", SUFFIX):
        raise InputError(f"{path}: a prior is read from .npy, .npz or {SUFFIX} files, not {path.suffix or 'this'!r}")
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file")
    if suffix == SUFFIX:
        tensors, meta = read_tensors(path)
        names = load_prior(path).classes if "xfeat" in meta and USUAL_NAME in tensors else None
        return tensors[_pick(path, name, list(tensors))], names
    if suffix == ".npy" and name is not None:
        raise InputError(f"{path} holds one array without a name: leave --name out")
    arrays: ArrayFile = open_npy(path) if suffix == ".npy" else open_npz(path)
    array = arrays.read(NPY_NAME if suffix == ".npy" else _pick(path, name, list(arrays.names)))
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise InputError(f"{path}: W must be floating-point numbers of at most 64 bits, not {array.dtype}")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="))), None


def _pick(path: Path, name: str | None, there: list[str]) -> str:
    wanted = name or (USUAL_NAME if USUAL_NAME in there else there[0] if len(there) == 1 else None)
    if wanted is None or wanted not in there:
        what = f"has no array {wanted!r}" if wanted else "holds several arrays, or none"
        raise InputError(f"{path} {what}: name one with --name (there are: {', '.join(there) or 'none'})")
    return wanted


def _check_matrix(path: Path, weight: Tensor, names: Sequence[str]) -> None:
    shape = " x ".join(map(str, weight.shape)) or "a single number"
    if weight.ndim != 2 or 0 in weight.shape:
        raise InputError(f"{path}: W must be a matrix of O rows (dimensions) and C columns (classes), not {shape}")
    if not weight.is_floating_point():
        raise InputError(f"{path}: W must be floating-point numbers, not {str(weight.dtype).removeprefix('torch.')}")
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise InputError(f"{path}: class {twice!r} is named twice: one column per class")
    if weight.shape[1] != len(names):
        hint = "; its rows are: transpose it" if weight.shape[0] == len(names) else ""
        raise InputError(f"{path}: W is {shape}, but its columns are not the {len(names)} classes named{hint}")
    bad = torch.nonzero(~torch.isfinite(weight.float()))
    if len(bad):
        row, column = bad[0].tolist()
        raise InputError(
            f"{path}: W holds {len(bad)} values that are not finite in float32 (row {row}, column {column})"
        )
    zero = torch.nonzero((weight.float() == 0).all(dim=0))
    if len(zero):
        raise InputError(f"{path}: W's column of {names[int(zero[0])]!r} is all zeros: that class has no place")
