"""From many dimensions to the two of a picture: principal components, and t-SNE."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEED = 0
COMPONENTS = 50  # that t-SNE looks at, a habit of the field
PERPLEXITY = 30.0
_FLAT = 1e-9


@dataclass(frozen=True, eq=False)
class Projected:
    """A cloud of rows in two dimensions.

    Attributes:
        pca: (n, 2) first principal components.
        explained: part of the variance that they hold, 0 to 1.
        tsne: (n, 2) by t-SNE.
    """

    pca: NDArray[np.float64]
    explained: float
    tsne: NDArray[np.float64]


def project(rows: NDArray[np.float64]) -> Projected:
    """Project rows, with a fixed seed.

    t-SNE is van der Maaten and Hinton's (JMLR 2008), perplexity 30 (less where there are few rows), of the first 50
    principal components, started from the first two.

    Args:
        rows: (n, d) finite numbers, two or more.
    """
    centred = rows - rows.mean(axis=0)
    if float(np.abs(centred).max()) < _FLAT:
        return Projected(np.zeros((len(rows), 2)), 1.0, np.zeros((len(rows), 2)))
    # Imported here: they take seconds.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count = min(COMPONENTS, *rows.shape)
    model = PCA(count, random_state=SEED)
    components = np.zeros((len(rows), max(2, count)))
    components[:, :count] = model.fit_transform(centred)
    start = components[:, :2] / components[:, 0].std() * 1e-4
    perplexity = min(PERPLEXITY, max(1.0, (len(rows) - 1) / 3))
    tsne = TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=SEED, n_jobs=1)
    flat = np.asarray(tsne.fit_transform(components.astype(np.float32)), np.float64)
    return Projected(components[:, :2], float(model.explained_variance_ratio_[:2].sum()), flat)
