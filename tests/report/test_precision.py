from pathlib import Path

import numpy as np
import pytest
import torch

from tests.report.test_examples import relevant, scores
from xfeat.report.blocks import Pictures, Table
from xfeat.report.pairs import pairs_of, share_of_relevant
from xfeat.report.precision import precision
from xfeat.report.subject import open_subject
from xfeat.training.asked import Asked

CPU, TEST = torch.device("cpu"), Asked("test")


@pytest.mark.parametrize("kind", ["trained", "paired"])
def test_the_curve_is_the_mean_of_the_highest_precision_at_a_recall_or_above(
    kind: str, request: pytest.FixtureRequest
) -> None:
    subject = open_subject(request.getfixturevalue(kind), TEST, CPU)
    section = precision(subject)
    assert section is not None
    pictures, table = section.blocks
    assert isinstance(pictures, Pictures)
    assert isinstance(table, Table)
    names = list(subject.answer.found.items)
    assert [picture.title for picture in pictures.items] == [f"{name} finds" for name in names]
    assert all(str(one.svg).count('class="line dashed') == len(names) - 1 for one in pictures.items)
    for pair, *cells in table.rows:
        right, own = relevant(subject, pair), scores(subject, pair)
        for level in (0, 5, 10):
            best = []
            for truth, row in zip(right, own, strict=True):
                points = [(truth[row >= cut].sum() / truth.sum(), truth[row >= cut].mean()) for cut in row]
                best.append(max(share for recall, share in points if recall >= level / 10 - 1e-9))
            assert float(cells[level]) == pytest.approx(np.mean(best), abs=0.00051)
        assert float(cells[-1]) == pytest.approx(right.mean(), abs=0.00051)
        assert "nan" not in cells


def test_the_share_of_relevant_items_is_the_same_in_any_blocks(trained: Path) -> None:
    for pair in pairs_of(open_subject(trained, TEST, CPU)):
        assert share_of_relevant(pair, 3) == share_of_relevant(pair)
