"""Folders of embeddings in numbered parts."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xfeat.errors import InputError
from xfeat.samples.importers import Names, read_arrays

ROWS = (3, 2, 4)


def write(
    folder: Path, rows: tuple[int, ...] = ROWS, *, flat: bool = False, digits: int = 1, metadata: bool = True
) -> dict[str, np.ndarray]:
    """Two kinds of embeddings and their metadata, as clip-retrieval lays them out; the embeddings."""
    rng = np.random.default_rng(0)
    whole = {"img_emb": rng.normal(size=(sum(rows), 5)), "text_emb": rng.normal(size=(sum(rows), 4))}
    whole = {kind: array.astype(np.float16) for kind, array in whole.items()}
    start = 0
    for number, count in enumerate(rows):
        name = f"{number:0{digits}d}"
        span = range(start, start + count)
        for kind, array in whole.items():
            place(folder, kind, flat)
            np.save(place(folder, kind, flat) / f"{kind}_{name}.npy", array[start : start + count])
        if metadata:
            columns = {
                "image_path": [f"images/{row}.jpg" for row in span],
                "caption": [f"picture {row}" if row % 2 else "" for row in span],
                "url": ["http://same"] * count,
                "key": pa.array([100 + row for row in span]),
                "subset": ["train" if row % 3 else "test" for row in span],
                "kind": [("cat", "dog")[row % 2] for row in span],
            }
            pq.write_table(pa.table(columns), place(folder, "metadata", flat) / f"metadata_{name}.parquet")
        start += count
    return whole


def place(folder: Path, kind: str, flat: bool = False) -> Path:
    found = folder if flat else folder / kind
    found.mkdir(parents=True, exist_ok=True)
    return found


def change(path: Path, **columns: Any) -> None:
    table = pq.read_table(path).to_pydict()
    pq.write_table(pa.table(table | columns), path)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("digits", [1, 3])
def test_images_and_texts_of_one_folder_are_pairs(tmp_path: Path, flat: bool, digits: int) -> None:
    whole = write(tmp_path, (2,) * 11, flat=flat, digits=digits)  # part 10 comes after part 2
    image, text = (read_arrays(tmp_path, modality=modality) for modality in ("image", "text"))
    for imported, kind in ((image, "img_emb"), (text, "text_emb")):
        np.testing.assert_array_equal(imported.features.rows(0, 22), whole[kind].astype(np.float32))
        assert imported.features.names == [kind]
        assert imported.format == "embeddings"
        assert imported.columns.ids == [f"images/{row}.jpg" for row in range(22)]
    assert image.columns.pair == text.columns.pair == image.columns.ids
    assert image.notes[0] == "ids and pairs, where not given: image_path"
    assert image.notes[1] == "11 of 22 rows have a caption; texts are not stored"


def test_metadata_are_columns(tmp_path: Path) -> None:
    write(tmp_path)
    columns = read_arrays(tmp_path, Names(labels="kind", split="subset", ids="key"), "photo").columns
    assert columns.ids == [str(100 + row) for row in range(9)]
    assert columns.split == ["train" if row % 3 else "test" for row in range(9)]
    assert list(columns.classes) == ["cat", "dog"]
    np.testing.assert_array_equal(columns.labels, np.arange(9) % 2)


def test_ids_are_the_first_column_that_is_unique(tmp_path: Path) -> None:
    write(tmp_path)
    for part in range(3):
        change(tmp_path / f"metadata/metadata_{part}.parquet", image_path=[f"{row}.jpg" for row in range(ROWS[part])])
    imported = read_arrays(tmp_path, modality="image")
    assert imported.columns.ids == imported.columns.pair == [str(100 + row) for row in range(9)]
    change(tmp_path / "metadata/metadata_1.parquet", key=[None, 5])
    imported = read_arrays(tmp_path, modality="image")
    assert imported.columns.ids == imported.columns.pair == [f"{row:06d}" for row in range(9)]
    assert imported.notes[0] == "ids and pairs, where not given: numbers of rows (image_path, url, key: not unique)"


def test_without_metadata_rows_are_numbered_and_paired(tmp_path: Path) -> None:
    write(tmp_path, metadata=False)
    image, text = (read_arrays(tmp_path, modality=modality) for modality in ("image", "text"))
    assert image.columns.pair == text.columns.pair == [f"{row:06d}" for row in range(9)]
    assert image.notes[0] == "ids and pairs, where not given: numbers of rows (no metadata)"
    assert read_arrays(tmp_path, Names(pair="none"), "image").columns.pair is None


def test_which_kind_is_meant(tmp_path: Path) -> None:
    whole = write(tmp_path)
    by_name = read_arrays(tmp_path, Names("text_emb"), "image")
    np.testing.assert_array_equal(by_name.features.rows(0, 9), whole["text_emb"].astype(np.float32))
    with pytest.raises(InputError, match=r"no array 'features' for --features; it has: img_emb \(3 parts\), text_emb"):
        read_arrays(tmp_path, modality="audio")
    for path in (tmp_path / "text_emb").iterdir():
        path.unlink()
    assert read_arrays(tmp_path, modality="audio").features.names == ["img_emb"]


def test_empty_parts_are_passed_over(tmp_path: Path) -> None:
    whole = write(tmp_path, (3, 0, 2))
    imported = read_arrays(tmp_path, modality="image")
    np.testing.assert_array_equal(imported.features.rows(0, 5), whole["img_emb"].astype(np.float32))
    assert len(imported.columns.ids) == 5


def refused(folder: Path, message: str, **names: Any) -> None:
    def check() -> None:
        imported = read_arrays(folder, Names(**names), "image")
        imported.features.content(imported.columns.ids, "float32")

    with pytest.raises(InputError, match=message) as error:
        check()
    assert "\n" not in str(error.value)


def test_parts_that_do_not_fit_are_named(tmp_path: Path) -> None:
    refused(tmp_path, "no embeddings .* in this folder")
    write(tmp_path)
    part = tmp_path / "img_emb" / "img_emb_1.npy"
    before = part.read_bytes()
    np.save(part, np.ones((3, 5)))
    refused(tmp_path, r"img_emb_1\.npy has 3 rows, metadata_1\.parquet has 2")
    np.save(part, np.ones((2, 6)))
    refused(tmp_path, r"img_emb_1\.npy is 6 wide, img_emb_0\.npy is 5")
    np.save(part, np.full((2, 5), np.nan))
    refused(tmp_path, r"features of row 3 \(id 'images/3\.jpg'\) hold nan")
    np.save(part, np.ones(2))
    refused(tmp_path, r"img_emb_1\.npy is \(2,\) float64")
    np.save(part, np.array([object()]), allow_pickle=True)
    refused(tmp_path, r"img_emb_1\.npy.*never loaded")
    part.write_bytes(before[:140])
    refused(tmp_path, r"img_emb_1\.npy.*damaged or truncated")
    assert read_arrays(tmp_path, modality="text").features.shape == (9, 4)  # the other kind is not looked into
    part.unlink()
    refused(tmp_path, r"part 1 of img_emb is missing, img_emb_2\.npy is there")
    part.write_bytes(before)
    (tmp_path / "img_emb" / "img_emb_01.npy").write_bytes(before)
    refused(tmp_path, r"img_emb_0?1\.npy and .*img_emb_0?1\.npy: which\?")
    (tmp_path / "img_emb" / "img_emb_01.npy").unlink()
    change(tmp_path / "metadata/metadata_2.parquet")
    table = pq.read_table(tmp_path / "metadata/metadata_2.parquet").drop_columns(["kind"])
    pq.write_table(table, tmp_path / "metadata/metadata_2.parquet")
    refused(tmp_path, r"metadata_2\.parquet has no column 'kind', metadata_0\.parquet has one")
    (tmp_path / "metadata/metadata_2.parquet").unlink()
    refused(tmp_path, r"img_emb_2\.npy has no counterpart beside metadata_0\.parquet: of that there are 2")
