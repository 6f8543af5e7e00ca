"""What every command owes to bad input, and settings that train in an instant."""

QUICK = [
    word
    for pair in ("hidden=16", "out=12", "batch_size=16", "spl_epochs=4", "spl_lr=0.03", "epochs=6", "lr=0.03")
    for word in ("--set", pair)
]


def refused(result: tuple[int, str, str], *words: str) -> None:
    """One line on standard error that holds the words, and exit code 2."""
    code, _, err = result
    assert code == 2, err
    assert err.startswith("xfeat: "), err
    assert err.count("\n") == 1, err
    for word in words:
        assert word in err, err
