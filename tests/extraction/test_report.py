from xfeat.extraction.report import Reason, count_reasons


def test_reasons_that_differ_in_numbers_count_together_most_frequent_first() -> None:
    rows = [("a", "ok"), ("b", "file not found"), ("c", "7 bytes left"), ("d", "12 bytes left"), ("e", "empty text")]
    assert count_reasons(rows) == (
        Reason("7 bytes left", 2, "c"),
        Reason("file not found", 1, "b"),
        Reason("empty text", 1, "e"),
    )


def test_no_failures_no_reasons() -> None:
    assert count_reasons([("a", "ok")]) == ()
