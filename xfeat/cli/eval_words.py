"""Words of the options of ``xfeat eval``, checked before anything is read."""

from xfeat.errors import InputError


def checked_cuts(words: str | None) -> list[int | None] | None:
    """``all,50`` as None and 50; None where nothing is asked for.

    Raises:
        InputError: another word, a number below 1, or the same twice.
    """
    if words is None:
        return None
    cuts = [None if word == "all" else _count("--cuts", word, "all") for word in map(str.strip, words.split(","))]
    if len(set(cuts)) < len(cuts):
        raise InputError(f"--cuts {words}: the same cut twice")
    return cuts


def checked_modalities(words: str | None) -> list[str] | None:
    """``image,text`` as two names; None where nothing is asked for.

    Raises:
        InputError: an empty name, or the same twice.
    """
    if words is None:
        return None
    names = [word.strip() for word in words.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise InputError(f"--modalities {words!r}: name modalities with commas between, each once")
    return names


def checked_weights(word: str) -> str:
    """``kept``, ``raw`` or ``ema``.

    Raises:
        InputError: another word.
    """
    if word not in ("kept", "raw", "ema"):
        raise InputError(f"--weights {word}: choose kept, raw or ema")
    return word


def checked_shots(word: str) -> int | None:
    """Rows of a kind that a gallery has; None for ``all``.

    Raises:
        InputError: another word, or a number below 1.
    """
    if word == "all":
        return None
    return _count("--gallery-shots", word, "all")


def checked_gallery_classes(word: str | None) -> str | None:
    """``unseen``, ``all`` or None.

    Raises:
        InputError: another word.
    """
    if word not in (None, "unseen", "all"):
        raise InputError(f"--gallery-classes {word}: choose unseen or all")
    return word


def _count(option: str, word: str, other: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 10) or int(word) < 1:
        raise InputError(f"{option} {word}: choose {other}, or a number of 1 or more")
    return int(word)
