"""Where the columns of a cache lie in a file of arrays."""

from dataclasses import dataclass, field

ROWS = "rows"  # in place of a reference: the row number
NONE = "none"  # in place of a reference: no such column, even if the file has it
FEATURES = "features"


@dataclass(frozen=True)
class TokenNames:
    """Where token sequences come from. A reference is described in ``References``; None takes the array of that name.

    Attributes:
        tokens: (T, D) tokens end to end, or (n, L, D) with padding; ``none`` for no tokens.
        offsets: (n + 1,) where the tokens of each sample begin and end.
        lengths: (n,) tokens of each sample.
        mask: (n, L) true, or 1, where a padded token is there.
    """

    tokens: str | None = None
    offsets: str | None = None
    lengths: str | None = None
    mask: str | None = None


@dataclass(frozen=True)
class Names:
    """Where each column comes from. A reference is described in ``References``; None takes the array of that name.

    Attributes:
        features: arrays of the file, on top of each other.
        labels: numbers, names, or an (n, C) matrix of zeros and ones; ``none`` for no labels.
        ids: ``rows`` or a reference; without either an ``ids`` array or row numbers, ``000017``.
        split: a reference, or consecutive runs of rows such as ``train:2173,test:693``; otherwise all are ``train``.
        pair: ``rows`` (row i of one modality belongs to row i of the others), a reference or ``none``.
        camera: a reference or ``none``.
        classes: a text file with a line per class, names separated by commas, or an array of strings.
        label_base: number of the first class, 0 or 1; None finds out.
        transpose: samples are the columns of the features.
        tokens: where the token sequences are. Beside them ``features`` may be missing: a row's features are then the
            mean of its tokens.
    """

    features: str = FEATURES
    labels: str | None = None
    ids: str | None = None
    split: str | None = None
    pair: str | None = None
    camera: str | None = None
    classes: str | None = None
    label_base: int | None = None
    transpose: bool = False
    tokens: TokenNames = field(default_factory=TokenNames)
