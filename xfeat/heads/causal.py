"""The part of CIIM that all modalities share: refinement, split gate, reconstructor, and the intervention.

Structural model: modality M -> z <- C cause. CIIM (TPAMI 2024, doi 10.1109/TPAMI.2024.3379752) states that a causal
intervention removes modality bias and reconstructs an invariant causal embedding. The form here is chosen: a gate
and the modality's mean mu_m split z into a causal part and a bias, the bias is replaced by that of each modality in
turn, and the reconstructions are averaged, which is the back-door adjustment (Pearl, "Causality", 2009, section 3.3.1)
for P(m') uniform:

    c = g * (z - mu_m),  b = (1 - g) * z,      e(m') = R(c + b_m'),      e = sum over m' of P(m') e(m').

What all rows of a modality have in common is no cause of a class, so mu_m is no part of c whatever the gate says; that
is exact where modalities have the same classes, in batches that are balanced over them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xfeat.heads.bias_bank import BiasBank


class Split(NamedTuple):
    """Refined rows in two parts, each (N, d); what they lack is the gate's share of the modality's mean."""

    causal: Tensor
    bias: Tensor


class CausalHead(nn.Module):
    """From branch outputs to the adjusted embedding; the same for every modality.

    Args:
        dim: d.
        hidden: width of the reconstructor; 0: none, what it would take is embedded.
        modalities: M whose bias is known to the bank.
        intervention: off, the refined row itself is reconstructed.

    Shape:
        (N, d) rows and the modality's centre (d,) -> (N, d) unit rows.

    The refinement starts as the identity.
    """

    def __init__(self, dim: int, hidden: int, modalities: int, *, intervention: bool = True) -> None:
        super().__init__()
        self.intervention = intervention
        self.refinement = nn.Linear(dim, dim)
        nn.init.zeros_(self.refinement.weight)
        nn.init.zeros_(self.refinement.bias)
        self.gate = nn.Parameter(torch.ones(dim))  # of the sigmoid: at the start, most of a row counts as causal
        layers = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim)) if hidden else None
        self.reconstructor = layers
        self.bank = BiasBank(modalities, dim)

    def refine(self, z: Tensor) -> Tensor:
        """The shared layer, z + W z, of rows (N, d) of any modality."""
        refined: Tensor = z + self.refinement(z)
        return refined

    def split(self, refined: Tensor, centre: Tensor) -> Split:
        """Causal part and bias of refined rows (N, d) of one modality, whose mean is ``centre`` (d,)."""
        g = self.gate.sigmoid()
        return Split(g * (refined - centre), (1 - g) * refined)

    def intervene(self, causal: Tensor, biases: Tensor) -> Tensor:
        """do(M = m'): (K, N, d) unit rows e(m'), from causal parts (N, d) and biases (K, N or 1, d)."""
        return self.reconstruct(causal + biases)

    def reconstruct(self, x: Tensor) -> Tensor:
        """R: unit rows of the shape of (..., d)."""
        return normalize(x if self.reconstructor is None else x + self.reconstructor(x), dim=-1)

    def forward(self, z: Tensor, centre: Tensor) -> Tensor:
        """The adjusted embedding, from the means of the bank: no sample of another modality is needed.

        Args:
            z: (N, d) rows of one modality's branch.
            centre: (d,) the mean of its refined rows.
        """
        refined = self.refine(z)
        if not self.intervention:
            return self.reconstruct(refined)
        return adjusted(self.intervene(self.split(refined, centre).causal, self.bank.means()))


def adjusted(interventions: Tensor) -> Tensor:
    """Back-door adjustment with P(m') uniform: (N, d) unit rows, from e(m') (K, N, d)."""
    return normalize(interventions.mean(0), dim=1)
