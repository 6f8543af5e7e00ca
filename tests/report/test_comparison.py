import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.report.reading import Page
from xfeat.compare.comparison import compare
from xfeat.errors import InputError
from xfeat.report.about import about
from xfeat.report.blocks import BarGrid, Section, Table
from xfeat.report.comparison import SideBySide, comparison
from xfeat.report.page import make_report, write_report
from xfeat.report.retrieval import retrieval
from xfeat.report.subject import Subject, open_subject
from xfeat.training.asked import Asked
from xfeat.training.group import members

CPU, TEST = torch.device("cpu"), Asked("test")


def test_the_section_is_the_comparison(group: Path, trained: Path) -> None:
    found = compare([group, trained], TEST, CPU, labels=["several", "tiny"], resamples=200)
    section = comparison(found)
    runs, pairs, differences = [block for block in section.blocks if isinstance(block, Table)]
    for row, run in zip(runs.rows, found.runs, strict=True):
        spread = "" if run.spread is None else f" ± {run.spread:.3f}"
        interval = f"{run.interval[0]:.3f} to {run.interval[1]:.3f}"
        assert row[:5] == [run.label, "drcl", ", ".join(map(str, run.seeds)), f"{run.mean:.3f}{spread}", interval]
    assert {len(run.seeds) for run in found.runs} == {1, 2}
    (alone,) = (run.label for run in found.runs if len(run.seeds) == 1)
    assert section.lead[-1] == f"One seed only, so no word on what another would give: {alone}."
    fixed = replace(found, runs=tuple(replace(run, method="ridge") for run in found.runs))
    assert not any("One seed" in line for line in comparison(fixed).lead)
    assert [row[0] for row in pairs.rows] == ["image → text", "text → image"]
    assert list(pairs.header[1:]) == [run.label for run in found.runs]
    (one,) = found.comparisons
    assert differences.rows[0][:3] == [
        f"{one.a} − {one.b}",
        "real" if one.real else "may be chance",
        f"{one.difference:+.3f}",
    ]
    real = comparison(replace(found, comparisons=(replace(one, real=not one.real, d_z=None, p_holm=1e-6),)))
    (row,) = [block for block in real.blocks if isinstance(block, Table)][2].rows
    assert row[1] == ("may be chance" if one.real else "real")
    assert row[4:6] == ["< 0.0001", "–"]
    (grid,) = [block for block in section.blocks if isinstance(block, BarGrid)]
    assert [bar.length for bar in grid.items[0].bars] == [run.mean for run in found.runs]
    ranks = comparison(replace(found, lower_is_better=True))
    assert not [block for block in ranks.blocks if isinstance(block, BarGrid)]


def test_runs_that_cannot_be_compared_are_shown_all_the_same(trained: Path, paired: Path) -> None:
    several = SideBySide()
    for path, name in ((trained, "a"), (paired, "b"), (trained, "c")):
        several.add(open_subject(path, TEST, CPU), name)
    section = several.section()
    assert section is not None
    assert section.blocks == ()
    assert section.notes[0].startswith("These runs are not compared: a and b have different")


def test_a_group_is_not_compared_with_its_own_seed(group: Path) -> None:
    several, own = SideBySide(), next(iter(members(group).values()))
    several.add(open_subject(own, TEST, CPU), "own")
    several.add(open_subject(group, TEST, CPU), "all")
    section = several.section()
    assert section is not None
    assert section.notes == [
        f"These runs are not compared: {own} is a seed of {group}: a run is not compared with its own group"
    ]


def test_a_page_of_several_runs(group: Path, trained: Path, tmp_path: Path) -> None:
    report = make_report([group, trained], TEST, CPU, [about, retrieval])
    write_report(tmp_path / "a.html", report)
    page = Page(tmp_path / "a.html")
    keys = ["comparison", "run1-about", "run1-retrieval", "run2-about", "run2-retrieval"]
    assert [one["id"] for one in page.named("section")] == keys
    links = [str(link["href"]) for link in page.named("a")]
    ids = [f"#{one['id']}" for _, one in page.tags if "id" in one]
    assert sorted(links) == sorted(ids)
    assert page.levels()[:3] == [1, 2, 3]
    assert all(after <= before + 1 for before, after in zip(page.levels(), page.levels()[1:], strict=False))
    assert "Report on several, tiny" in page.words()
    assert "several − tiny" in page.words("comparison") or "tiny − several" in page.words("comparison")


def test_every_run_is_evaluated_once(trained: Path, tmp_path: Path) -> None:
    """Nothing is left to evaluate a run by when its own sections are made."""
    paths = [shutil.copytree(trained, tmp_path / name) for name in ("one", "two")]

    def spent(subject: Subject) -> Section | None:
        shutil.rmtree(subject.path / "branches")
        return None

    asked = Asked("test", allow_changed=True)
    report = make_report(paths, asked, CPU, [spent])
    assert report.comparison is not None
    (_, runs, *_) = report.comparison.blocks
    assert isinstance(runs, Table)
    assert [row[0] for row in runs.rows] == ["one", "two"]


def test_a_run_is_named_once(trained: Path) -> None:
    with pytest.raises(InputError, match="is named twice"):
        make_report([trained, trained.parent / "." / trained.name], TEST, CPU)
