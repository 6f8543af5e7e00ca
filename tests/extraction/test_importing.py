from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cache.building import assert_same_tokens, make_plan, make_tokens, write_cache
from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan
from xfeat.cache.export import export_npz
from xfeat.cache.verify import verify
from xfeat.errors import InputError
from xfeat.extraction.importing import default_folder, import_features
from xfeat.samples.importers import Names, read_arrays


def npy(folder: Path, rows: int = 5, dim: int = 3) -> Path:
    path = folder / "f.npy"
    np.save(path, np.random.default_rng(0).normal(size=(rows, dim)))
    return path


def test_fingerprint_knows_the_content_and_no_path(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    first, second = (
        import_features(read_arrays(npy(folder), Names(split=split)), tmp_path / name, "image")
        for folder, name, split in ((tmp_path, "a", "train:5"), (tmp_path / "elsewhere", "b", "test:5"))
    )
    assert first.fingerprint == second.fingerprint
    assert first.samples != second.samples
    assert str(tmp_path) not in str(first.fingerprint)
    assert set(first.fingerprint) == {"family", "format", "arrays", "content", "dtype", "dim"}
    half = import_features(read_arrays(tmp_path / "f.npy"), tmp_path / "c", "image", "float16")
    assert half.fingerprint_sha256 != first.fingerprint_sha256


def test_a_second_run_does_nothing_and_a_stopped_one_resumes(tmp_path: Path) -> None:
    rows = 2 * 8192 + 1
    imported = read_arrays(npy(tmp_path, rows, 2))
    out, said = tmp_path / "cache", list[str]()
    done = import_features(imported, out, "image", say=said.append)
    assert done.shards == 3
    assert said == []
    written = {path.name: path.stat().st_ino for path in out.glob("*.h5")}
    assert import_features(imported, out, "image", say=said.append) == done
    assert said == [f"{out} is already complete: nothing to do"]
    assert {path.name: path.stat().st_ino for path in out.glob("*.h5")} == written
    (out / "00001.h5").unlink()
    again = import_features(imported, out, "image", say=said.append)
    assert said[1:] == ["resumed: 2 of 3 shards were there"]
    assert again == done
    assert verify(out) == []
    np.testing.assert_array_equal(FeatureCache(out).load().features, imported.features.rows(0, rows))


def test_other_features_do_not_mix_into_a_cache(tmp_path: Path) -> None:
    imported = read_arrays(npy(tmp_path))
    import_features(imported, tmp_path / "cache", "image")
    np.save(tmp_path / "f.npy", np.zeros((5, 3)))
    with pytest.raises(InputError, match=r"another fingerprint \(content: "):
        import_features(read_arrays(tmp_path / "f.npy"), tmp_path / "cache", "image")


def test_nothing_is_written_for_features_that_are_not_finite(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.full((2, 2), np.nan))
    with pytest.raises(InputError, match=r"row 0 \(id '000000'\) hold nan"):
        import_features(read_arrays(tmp_path / "f.npy"), tmp_path / "cache", "image")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("home", "folder"), [(None, "cache"), ("", "cache"), ("/big", "/big")])
def test_default_folder(monkeypatch: pytest.MonkeyPatch, home: str | None, folder: str) -> None:
    monkeypatch.delenv("XFEAT_CACHE", raising=False)
    if home is not None:
        monkeypatch.setenv("XFEAT_CACHE", home)
    assert default_folder(Path("/data/raw.mat"), "text") == Path(folder) / "raw" / "text.import"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_exported_cache_comes_back_with_its_tokens(tmp_path: Path, dtype: str) -> None:
    plan = make_plan(dtype=dtype, token_dim=3)
    old = write_cache(tmp_path / "a", plan)
    export_npz(old, tmp_path / "a.npz")
    done = import_features(read_arrays(tmp_path / "a.npz"), tmp_path / "b", "image", dtype)
    one, two = old.load(with_tokens=True), FeatureCache(tmp_path / "b").load(with_tokens=True)
    np.testing.assert_array_equal(one.features, two.features)
    assert_same_tokens(two.tokens, one.tokens)
    assert (done.samples, done.tokens, done.token_dim) == (old.manifest.samples, old.manifest.tokens, 3)
    assert verify(tmp_path / "b") == []


def test_the_fingerprint_knows_the_tokens_and_what_the_features_are(tmp_path: Path) -> None:
    tokens = make_tokens(make_plan(5, token_dim=3))
    assert tokens is not None
    arrays = {"tokens": tokens.values, "offsets": tokens.offsets}
    np.savez(tmp_path / "t.npz", **arrays)
    pooled = import_features(read_arrays(tmp_path / "t.npz"), tmp_path / "a", "image")
    means = FeatureCache(tmp_path / "a").load().features
    assert pooled.fingerprint["arrays"] == {"features": ["mean of the tokens"], "tokens": "tokens"}
    np.savez(tmp_path / "f.npz", features=means, **arrays)
    given = import_features(read_arrays(tmp_path / "f.npz"), tmp_path / "b", "image")
    assert given.fingerprint["arrays"] == {"features": ["features"], "tokens": "tokens"}
    for name in ("content", "token_content", "token_dim"):
        assert given.fingerprint[name] == pooled.fingerprint[name]
    np.savez(tmp_path / "g.npz", features=means, tokens=tokens.values + 1, offsets=tokens.offsets)
    with pytest.raises(InputError, match=r"another fingerprint \(token_content: "):
        import_features(read_arrays(tmp_path / "g.npz"), tmp_path / "b", "image")


def test_a_token_that_is_not_finite_is_named_where_features_are_means(tmp_path: Path) -> None:
    values = np.ones((3, 2))
    values[2] = np.nan
    np.savez(tmp_path / "t.npz", tokens=values, offsets=[0, 1, 3])
    with pytest.raises(InputError, match=r"token 1 of sample 1 \(id '000001'\) holds NaN"):
        import_features(read_arrays(tmp_path / "t.npz"), tmp_path / "cache", "image")
    assert not (tmp_path / "cache").exists()


def test_a_stopped_import_of_tokens_resumes(tmp_path: Path) -> None:
    rows = 8192 + 3
    values = np.random.default_rng(0).normal(size=(2 * rows, 2))
    np.savez(tmp_path / "t.npz", tokens=values, lengths=np.full(rows, 2))
    imported, out = read_arrays(tmp_path / "t.npz"), tmp_path / "cache"
    done = import_features(imported, out, "image")
    before = (out / "00001.h5").read_bytes()
    (out / "00001.h5").unlink()
    assert import_features(imported, out, "image") == done
    assert (out / "00001.h5").read_bytes() == before


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4)


@given(rows=st.integers(1, 6), data=st.data())
def test_an_exported_cache_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: int, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("round")

    def column(unique: bool = False) -> st.SearchStrategy[list[str]]:
        return st.lists(words, min_size=rows, max_size=rows, unique=unique)

    classes = data.draw(st.lists(words, min_size=1, max_size=3, unique=True))
    index = st.lists(st.integers(-1, len(classes) - 1), min_size=rows, max_size=rows)
    hot = st.lists(
        st.lists(st.integers(0, 1), min_size=len(classes), max_size=len(classes)), min_size=rows, max_size=rows
    )
    labels = data.draw(
        st.one_of(
            st.none(),
            index.map(lambda values: np.array(values, np.int64)),
            hot.map(lambda values: np.array(values, np.uint8)),
        )
    )
    columns = Columns(
        data.draw(column(unique=True)),
        data.draw(column()),
        classes if labels is not None else (),
        labels,
        data.draw(st.none() | column()),
        data.draw(st.none() | column()),
    )
    dtype = data.draw(st.sampled_from(["float16", "float32"]))
    features = np.random.default_rng(rows).normal(size=(rows, 2)).astype(dtype)
    with CacheWriter(folder / "a", Plan("image", {"made": "here"}, 2, columns, dtype)) as writer:
        writer.write(0, features)
        writer.finish()
    export_npz(FeatureCache(folder / "a"), folder / "a.npz")
    import_features(read_arrays(folder / "a.npz"), folder / "b", "image", dtype)
    old, new = FeatureCache(folder / "a"), FeatureCache(folder / "b")
    # Which samples these are: one digest over ids, splits, classes, labels, pairs and cameras.
    assert new.manifest.samples == old.manifest.samples
    assert new.manifest.classes == old.manifest.classes
    assert new.manifest.label_kind == old.manifest.label_kind
    np.testing.assert_array_equal(new.load().features, old.load().features)
    assert new.load().features.dtype == dtype
