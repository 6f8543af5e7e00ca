from dataclasses import replace
from pathlib import Path

from xfeat.cli.extract_summary import summary
from xfeat.extraction.report import ExtractReport, Reason

PLAIN = ExtractReport(
    path=Path("cache/toys/image.hog"),
    rows=1200,
    ok=1200,
    failed=0,
    by_reason=(),
    resumed_rows=0,
    tried_rows=1200,
    repaired_shards=0,
    truncated=0,
    left_out=0,
    duplicates=0,
    added=0,
    gone=0,
    changed=0,
    moved=0,
    batch_size=64,
    dim=864,
    dtype="float16",
    tokens=0,
    token_dim=0,
    splits={"train": 1000, "test": 200},
    seconds=2.0,
)


def test_a_plain_extraction() -> None:
    assert summary(PLAIN, "image", "filters:hog", batch_size=64).splitlines() == [
        "image by filters:hog: 1,200 of 1,200 samples ok, 0 failed",
        "  features  1,200 x 864 float16 (train 1,000, test 200)",
        "  time      1,200 in 2.0 s (600 a second)",
        "  cache     cache/toys/image.hog",
    ]


def test_everything_that_can_be_said_fits_80_columns() -> None:
    many = 1_234_567
    reasons = tuple(Reason(f"reason {row}", 10 - row, f"s{row}") for row in range(7))
    report = replace(
        PLAIN,
        ok=1200 - 49,
        failed=49,
        by_reason=reasons,
        tried_rows=900,
        resumed_rows=300,
        repaired_shards=many,
        truncated=many,
        left_out=many,
        duplicates=many,
        added=many,
        gone=many,
        changed=many,
        moved=many,
        batch_size=16,
        tokens=1151 * 50,
        token_dim=512,
    )
    lines = summary(report, "image", "filters:hog", batch_size=64, more=["parts     3 on local"]).splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for words in (
        "1,151 of 1,200 samples ok, 49 failed",
        "10 x reason 0 (first: s0)",
        "9 for 2 other reasons",
        "tokens    57,550 x 512 float16, 50.0 a sample",
        "900 in 2.0 s (450 a second), 300 kept from before",
        "parts     3 on local",
        "1,234,567 rows are new: the cache grew by them",
        "1,234,567 rows are no longer in the manifest: kept",
        "1,234,567 rows have another split, label, pair or camera",
        "1,234,567 rows have another path or text now",
        "1,234,567 inputs are equal to another: encoded once",
        "1,234,567 samples were cut to the length that the backbone reads",
        "1,234,567 rows of the manifest do not have this modality",
        "1,234,567 damaged shards were written again",
        "memory ran out at batch size 64: went on with 16",
        "--retry-failed",
    ):
        assert words in text


def test_nothing_to_do_is_not_said_of_a_cache_that_was_changed() -> None:
    idle = replace(PLAIN, tried_rows=0, resumed_rows=1200, batch_size=0)
    assert "nothing to do: all rows were there already" in summary(idle, "image", "filters:hog", batch_size=64)
    for changed in (replace(idle, changed=3), replace(idle, repaired_shards=1)):
        text = summary(changed, "image", "filters:hog", batch_size=64)
        assert "nothing to encode" in text
        assert "nothing to do" not in text
    assert "note" not in summary(idle, "image", "filters:hog", batch_size=64)
