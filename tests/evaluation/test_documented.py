"""The page on evaluation: its example runs, and it names every protocol and metric there is."""

import doctest
from pathlib import Path

from xfeat.evaluation.gain import GAINS
from xfeat.evaluation.instance import CUTS as INSTANCE_CUTS
from xfeat.training.asked import PROTOCOLS

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


def test_the_example_prints_what_the_page_says() -> None:
    found = doctest.testfile(str(PAGE), module_relative=False)
    assert found.attempted > 5
    assert found.failed == 0


def test_the_page_names_every_protocol_gain_and_cut() -> None:
    text = PAGE.read_text()
    for name in PROTOCOLS:
        assert f"| `{name}` |" in text
    for gain in GAINS:
        assert f"--gain {gain}" in text
    assert ", ".join(f"R@{cut}" for cut in INSTANCE_CUTS) in text
