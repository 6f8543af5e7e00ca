from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.samples.paths import Rooted


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("a.png", "a.png"),
        ("./a//b.png", "a/b.png"),
        ("a/../b", "b"),
        ("..a", "..a"),
        ("a/...", "a/..."),
        ("é/日", "é/日"),
    ],
)
def test_inside(tmp_path: Path, path: str, short: str) -> None:
    assert Rooted(tmp_path.resolve()).relative(path) == short


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc/passwd", "is absolute"),
        ("C:\\x", "is absolute"),
        ("\\\\host\\share\\x", "is absolute"),
        ("..", "leaves the root"),
        ("../x", "leaves the root"),
        ("a/../../x", "leaves the root"),
        (".", "leaves the root"),
        ("a\0b", "NUL"),
    ],
)
def test_outside(tmp_path: Path, path: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Rooted(tmp_path.resolve()).relative(path)


def test_links(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    (root / "real").mkdir(parents=True)
    other.mkdir()
    (other / "secret").touch()
    (root / "folder").symlink_to(other)
    (root / "file").symlink_to(other / "secret")
    (root / "within").symlink_to(root / "real")
    (root / "loop").symlink_to(root / "loop")
    rooted = Rooted(root.resolve())
    assert rooted.relative("within/x") == "within/x"
    assert rooted.relative("loop") == "loop"
    for path in ("folder/secret", "folder/absent", "file"):
        with pytest.raises(ValueError, match="through a symbolic link"):
            rooted.relative(path)


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "link", ""]), min_size=1, max_size=6))
def test_what_is_accepted_opens_inside(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    base = tmp_path_factory.mktemp("root").resolve()
    root = base / "root"
    (root / "a").mkdir(parents=True)
    (root / "link").symlink_to(base)
    path = "/".join(parts)
    try:
        short = Rooted(root).relative(path)
    except ValueError:
        return
    assert (root / short).resolve().is_relative_to(root)
