"""``xfeat import``: features made elsewhere become a cache."""

import textwrap
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from xfeat.cache import Manifest
    from xfeat.samples.importers import Imported

WIDTH = 80
COLUMN = "array or column of FILE, or PATH#COLUMN of another"


class DType(str, Enum):
    """What a cache stores."""

    float32 = "float32"
    float16 = "float16"


def import_(
    file: Path = typer.Argument(..., metavar="FILE", help="A .npz, .npy, .mat, .h5 or .parquet, or a folder of parts."),
    modality: str = typer.Option(..., "--modality", "-m", metavar="NAME", help="For example image, text or audio."),
    out: Path | None = typer.Option(
        None, metavar="CACHE", help="Folder; default: cache/<file>/<modality>.import ($XFEAT_CACHE instead of cache)."
    ),
    features: str = typer.Option(
        "features", metavar="A[,B]", help="Arrays with the features, one after the other; of a table also f_*."
    ),
    labels: str | None = typer.Option(None, metavar="REF", help=f"Labels: {COLUMN}; or none."),
    ids: str | None = typer.Option(None, metavar="REF", help=f"Unique ids: {COLUMN}; or rows (row numbers)."),
    split: str | None = typer.Option(
        None, metavar="REF", help=f"Splits: {COLUMN}; or runs of rows, train:2173,test:693."
    ),
    pair: str | None = typer.Option(
        None, metavar="REF", help=f"What ties modalities together: {COLUMN}; or rows; or none."
    ),
    camera: str | None = typer.Option(None, metavar="REF", help=f"Cameras: {COLUMN}; or none."),
    classes: str | None = typer.Option(
        None, metavar="NAMES", help="Class names in label order: a file with a line each, or a,b,c."
    ),
    label_base: int | None = typer.Option(None, min=0, max=1, help="Number of the first class; found if not given."),
    transpose: bool = typer.Option(False, "--transpose", help="Samples are the columns of the features."),
    dtype: DType = typer.Option(DType.float32, help="What to store."),
    tokens: str | None = typer.Option(
        None, metavar="A", help="Token sequences: (T, D) end to end, or (n, L, D) padded; or none."
    ),
    offsets: str | None = typer.Option(
        None, metavar="REF", help="Where the tokens of each sample begin, and the last end: (n + 1)."
    ),
    lengths: str | None = typer.Option(None, metavar="REF", help="Instead: the number of tokens of each sample."),
    mask: str | None = typer.Option(None, metavar="A", help="Instead: (n, L), 1 where a padded token is there."),
) -> None:
    """Import features made elsewhere into a cache.

    Without options, FILE holds features (n, D) and perhaps ids, labels, split, pair, camera and classes, as
    written by `xfeat cache export`. Options name them where they are called something else. X[0] is the first
    cell of a MATLAB cell array, s.x a field of a struct, g/x a dataset in an HDF5 group. PATH#COLUMN is a column of a
    .csv by its name, or of a list without header by its number, from 1. A,B is A followed by B.

    Of a .parquet, features are a column of lists of numbers, or columns side by side (f_*); ids and labels are its
    columns id and label unless named. A folder holds embeddings in numbered parts, as clip-retrieval writes them:
    img_emb/img_emb_0.npy, text_emb/text_emb_0.npy, metadata/metadata_0.parquet, or all of them flat. The modality
    chooses between images and texts, and row i of both is one pair.

    Token sequences of any length are taken from tokens with offsets, lengths or a mask. Where there are no
    features, a sample's features are the mean of its tokens.

    Example: xfeat import raw.mat -m image --features I_tr,I_te --split train:2173,test:693
    --labels train.list#3,test.list#3 --classes names.txt --pair rows
    """
    from xfeat.extraction.importing import default_folder, import_features
    from xfeat.samples.importers import Names, TokenNames, read_arrays

    sequences = TokenNames(tokens, offsets, lengths, mask)
    names = Names(features, labels, ids, split, pair, camera, classes, label_base, transpose, sequences)
    imported = read_arrays(file, names, modality)
    for note in imported.notes:
        _say(f"note: {note}")
    out = out or default_folder(file.resolve() if file.is_dir() else file, modality)
    manifest = import_features(imported, out, modality, dtype.value, say=typer.echo)
    _summarise(manifest, imported)
    typer.echo(f"cache     {out}")


def _summarise(manifest: "Manifest", imported: "Imported") -> None:
    columns, kinds, tokens = imported.columns, imported.features.kinds, imported.tokens
    stored = manifest.dtype if kinds == manifest.dtype else f"{manifest.dtype} (from {kinds})"
    _say(f"{manifest.modality}: {manifest.rows} rows x {manifest.dim} features, {stored}")
    if tokens is not None:
        lengths = tokens.lengths
        _say(f"tokens    {manifest.tokens} x {manifest.token_dim}, {lengths.min()} to {lengths.max()} a sample")
    if imported.pooled:
        _say("features  each sample's are the mean of its tokens")
    usual = ("train", "val", "test")
    counts = sorted(manifest.counts["split"].items(), key=lambda item: usual.index(item[0]) if item[0] in usual else 3)
    _say("splits    " + ", ".join(f"{name} {count}" for name, count in counts))
    if manifest.label_kind == "none":
        _say("classes   none (no labels)")
    else:
        _say(f"classes   {len(manifest.classes)} ({manifest.label_kind}-label): {', '.join(manifest.classes)}", lines=3)
    tied = f", {len(set(columns.pair))} pair keys" if columns.pair is not None else ", unpaired"
    _say(f"ids       {columns.ids[0]} ... {columns.ids[-1]}{tied}")


def _say(text: str, lines: int | None = None) -> None:
    typer.echo(textwrap.fill(text, WIDTH, subsequent_indent=" " * 10, max_lines=lines, placeholder=" ..."))
