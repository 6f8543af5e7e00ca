"""CIIM files: what comes back, and files that are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.ciim_building import CPU, tiny
from xfeat.errors import InputError
from xfeat.methods.ciim import CiimNetwork
from xfeat.training.ciim_store import AFTER, BEFORE, ONLY, load_causal, load_shared, save_causal, save_shared
from xfeat.training.loading import Staged, load_branch
from xfeat.training.resident import InputScale

DIMS = {"image": 5, "text": 7}
SCALE = InputScale(torch.full((7,), 2.0), torch.full((7,), 3.0))


def a_network(seed: int = 0, **changes: Any) -> CiimNetwork:
    """Every parameter and statistic is random."""
    torch.manual_seed(seed)
    settings = tiny(**changes).resolved(40, 3)
    network = CiimNetwork(DIMS, dict.fromkeys(DIMS, 40), 3, settings, torch.ones(2, 3, dtype=torch.bool))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    for bank in (network.head.bank, network.centres):
        for place in range(2):
            bank.update(place, torch.randn(5, 12))
    return network


def save(run: Path, network: CiimNetwork) -> Path:
    """The text branch of a network, with what it shares."""
    path = run / "branches" / "text.safetensors"
    shared = save_shared(run / "shared.safetensors", network.state_dict(), {"classes": ["a", "b", "c"]})
    assert shared == json.loads((run / "shared.json").read_text())
    note = {"method": "ciim", "in_dim": 7, "settings": network.settings.model_dump(), "shared": shared["sha256"]}
    returned = save_causal(path, network.state_dict(), 1, SCALE, note)
    assert returned == json.loads(path.with_suffix(".json").read_text())
    return path


def features(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 7)).astype(np.float16)


def expected(network: CiimNetwork, rows: np.ndarray) -> Tensor:
    with torch.no_grad():
        z = network.branches[1]((torch.from_numpy(rows).float() - 2) / 3)
        found: Tensor = network.head(z, network.centres.mean[1])
        return found


@pytest.mark.parametrize("changes", [{}, {"skip": True}, {"reconstructor": 0}, {"intervention": False}])
def test_a_branch_embeds_scaled_features_as_the_network_did(tmp_path: Path, changes: dict[str, Any]) -> None:
    network = a_network(**changes)
    branch = load_causal(save(tmp_path, network))
    before = features(2100)
    rows = before.copy()
    found = branch.embed(rows, CPU)
    torch.testing.assert_close(found, expected(network, rows))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2100))
    assert not found.requires_grad
    assert np.array_equal(rows, before)
    torch.testing.assert_close(branch.embed(rows[7:9], CPU), found[7:9])
    assert (branch.similarity, branch.wants_tokens) == ("cosine", False)


def test_what_is_stored_is_the_modalitys_own_and_what_is_shared(tmp_path: Path) -> None:
    network = a_network()
    branch = load_causal(save(tmp_path, network))
    for own, stored in ((network.branches[1], branch.branch), (network.head, branch.head)):
        state = stored.state_dict()
        assert state.keys() == own.state_dict().keys()
        assert all(torch.equal(value, state[name]) for name, value in own.state_dict().items())
    assert torch.equal(branch.centre, network.centres.mean[1])
    shared, note = load_shared(tmp_path / "shared.safetensors")
    assert torch.equal(shared["hybrid"], network.hybrid)
    assert not [name for name in shared if name.startswith(("branches", "single", "tells", "centres"))]
    assert note["classes"] == ["a", "b", "c"]


def test_stages_are_before_and_after_the_intervention(tmp_path: Path) -> None:
    network = a_network()
    path, rows = save(tmp_path, network), features(2100)
    branch = load_branch(path)
    assert isinstance(branch, Staged)
    found = branch.stages(rows, CPU)
    assert list(found) == [BEFORE, AFTER]
    assert torch.equal(found[AFTER], branch.embed(rows, CPU))
    with torch.no_grad():
        z = network.branches[1]((torch.from_numpy(rows).float() - 2) / 3)
        z = z + network.head.refinement(z)
    torch.testing.assert_close(found[BEFORE], z / z.norm(dim=1, keepdim=True))
    assert (found[BEFORE] - found[AFTER]).abs().max() > 0.1


def test_without_intervention_there_is_one_stage(tmp_path: Path) -> None:
    branch = load_causal(save(tmp_path, a_network(intervention=False)))
    found = branch.stages(features(3), CPU)
    assert list(found) == [ONLY]
    torch.testing.assert_close(found[ONLY], branch.embed(features(3), CPU))


def test_equal_trainings_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("1", "2"):
        save(tmp_path / name, a_network())
    for file in ("branches/text.safetensors", "branches/text.json", "shared.safetensors", "shared.json"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()


def error(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_branch(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGE: list[tuple[str, Callable[[Path], Any], str]] = [
    ("branches/text.json", Path.unlink, "text.json does not exist: the run is not finished"),
    ("branches/text.json", empty, "text.json is damaged"),
    ("branches/text.safetensors", Path.unlink, "text.safetensors does not exist"),
    ("branches/text.safetensors", cut, "text.safetensors is not a whole safetensors file"),
    ("shared.safetensors", Path.unlink, "shared.safetensors does not exist"),
    ("shared.safetensors", cut, "shared.safetensors is not a whole safetensors file"),
    ("shared.json", Path.unlink, "shared.json does not exist: the run is not finished"),
    ("shared.json", lambda path: path.write_text("[]"), "shared.json is damaged"),
]


@pytest.mark.parametrize(("file", "damage", "words"), DAMAGE)
def test_damage_is_one_line(tmp_path: Path, file: str, damage: Callable[[Path], Any], words: str) -> None:
    path = save(tmp_path, a_network())
    damage(tmp_path / file)
    assert words in error(path)


def test_files_of_other_runs_are_told_from_ones_own(tmp_path: Path) -> None:
    path, other = save(tmp_path / "run", a_network()), save(tmp_path / "other", a_network(1))
    own = {name: (tmp_path / "run" / name).read_bytes() for name in ("shared.safetensors", "shared.json")}
    for name in own:
        (tmp_path / "run" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    assert "text.safetensors was trained with another shared.safetensors than" in error(path)
    (tmp_path / "run" / "shared.json").write_bytes(own["shared.json"])
    assert "shared.safetensors is not the file that shared.json was written for" in error(path)
    (tmp_path / "run" / "shared.safetensors").write_bytes(own["shared.safetensors"])
    path.write_bytes(other.read_bytes())
    assert "text.safetensors is not the file that text.json was written for" in error(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"in_dim": 8}, "does not fit its note"),
        ({"in_dim": "seven"}, "does not fit its note"),
        ({"settings": 3}, "does not fit its note"),
        ({"settings": {"out": 9}}, "does not fit its note"),
        ({"settings": {"new": 1}}, "unknown setting 'new'"),
        ({"shared": None}, "was trained with another shared.safetensors"),
        ({"in_dim": None}, "does not fit its note"),
    ],
)
def test_notes_that_do_not_fit_are_one_line(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = save(tmp_path, a_network())
    note = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**note, **changes}))
    assert words in error(path)


def test_a_setting_that_a_note_lacks_is_a_branch_that_does_not_fit(tmp_path: Path) -> None:
    path = save(tmp_path, a_network())
    note = json.loads(path.with_suffix(".json").read_text())
    del note["in_dim"]
    path.with_suffix(".json").write_text(json.dumps(note))
    assert "does not fit its note" in error(path)


def test_there_is_one_set_of_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this method keeps one set of weights, not ema"):
        load_branch(save(tmp_path, a_network()), "ema")
