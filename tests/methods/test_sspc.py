"""Oracle of the loss: rows one at a time in float64, all slices of the assignment, targets cut off from the graph."""

from collections.abc import Sequence
from itertools import combinations, permutations
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from tests.losses.test_multi_sinkhorn import literal as literal_multi
from tests.losses.test_sinkhorn import literal as literal_single
from xfeat.methods.sspc import Features
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.methods.sspc_stage import SspcObjective

WIDTHS = {"image": 7, "text": 5, "audio": 4}
ROWS, QUEUE = 6, 9
Batch = dict[str, Features]


def a_setting(**changes: Any) -> SspcSettings:
    chosen = {"input_dim": 8, "joint_dim": 6, "anchors": 5, "required": 2, "iterations": 6, "eps": 0.1, "ema": 0.0}
    chosen |= {"input_anchors": "projected", "temperature": 0.05, "dropout": 0.0, "input_noise": 0.0}
    chosen |= {"batch_size": 2, "epochs": 3, "queue": QUEUE, "modality_weight": {"audio": 0.3, "text": 1.5}}
    return SspcSettings(**{**chosen, **changes}).resolved(50)


def an_objective(names: Sequence[str], *, filled: int = QUEUE, **changes: Any) -> SspcObjective:
    """In float64, with queues of ``filled`` unit rows."""
    torch.manual_seed(0)
    objective = SspcObjective({name: WIDTHS[name] for name in names}, a_setting(**changes)).double()
    for queue in (*objective.input_queues, *objective.joint_queues):
        queue.push(normalize(torch.randn(min(filled, queue.size), queue.rows.shape[1]).double(), dim=1))
    return objective


def a_batch(names: Sequence[str], *, missing: bool = False, tokens: bool = False, rows: int = ROWS) -> Batch:
    g = torch.Generator().manual_seed(1)
    found = {}
    for number, name in enumerate(names):
        shape = (rows, 3, WIDTHS[name]) if tokens else (rows, WIDTHS[name])
        values = torch.randn(shape, generator=g, dtype=torch.float64)
        mask = torch.arange(3) < torch.randint(1, 4, (rows, 1), generator=g) if tokens else None
        present = torch.ones(rows, dtype=torch.bool)
        present[[number, (2 * number + 3) % rows]] = False
        found[name] = Features(values, mask, present if missing else None)
    return found


KEYS = torch.tensor([0, 1, 2, 0, 4, 5])
NO = torch.zeros(())


def loss_of(objective: SspcObjective, batch: Batch, keys: Tensor = KEYS) -> dict[str, Tensor]:
    return objective(batch, keys, {}, NO)


def rows_of(objective: SspcObjective, batch: Batch) -> list[dict[int, tuple[Tensor, Tensor]]]:
    """Input and joint embedding of every present row, by modality and row."""
    found = []
    for name, head in zip(objective.names, objective.heads, strict=True):
        values, mask, present = batch[name]
        here = {}
        for row in range(len(values)):
            if present is None or present[row]:
                alone = values[row : row + 1] if mask is None else values[row : row + 1, : int(mask[row].sum())]
                out = head.branch(alone)
                here[row] = (out.input[0], out.joint[0])
        found.append(here)
    return found


def literal_contrastive(one: dict[int, Tensor], two: dict[int, Tensor], keys: Tensor, temperature: float) -> Tensor:
    both = sorted(one.keys() & two.keys())
    total = torch.zeros((), dtype=torch.float64)
    for queries, gallery in ((one, two), (two, one)):
        for i in both:
            others = [gallery[j] for j in both if j == i or keys[i] != keys[j]]
            scores = torch.stack([queries[i] @ other / temperature for other in others])
            total = total + scores.logsumexp(0) - queries[i] @ gallery[i] / temperature
    return total / (2 * len(both)) if both else total


def literal_targets(own: dict[int, Tensor], earlier: Tensor, s: SspcSettings) -> dict[int, Tensor]:
    together = torch.cat([torch.stack(list(own.values())), earlier]).detach()
    if s.assignment == "single":
        found = literal_single(together, s.eps, s.iterations)
    else:
        assert s.required is not None
        found = literal_multi(together, s.required, s.eps, s.iterations, s.slices)
    return dict(zip(own, found, strict=False))


def literal_cost(x: dict[int, Tensor], target: dict[int, Tensor], both: Sequence[int], temperature: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for row in both:
        score = (x[row] / temperature).exp()
        total = total - (target[row] * logsigmoid(score) + (1 - target[row]) * logsigmoid(-score)).mean()
    return total / max(1, len(both))


def literal(objective: SspcObjective, batch: Batch, keys: Tensor = KEYS) -> dict[str, Tensor]:
    s, names = objective.settings, objective.names
    embedded = rows_of(objective, batch)
    inputs = [{row: e[0] for row, e in here.items()} for here in embedded]
    joints = [{row: e[1] for row, e in here.items()} for here in embedded]

    def weight(m: int, a: int) -> float:
        return s.modality_weight.get(names[m], 1.0) * s.modality_weight.get(names[a], 1.0)

    contrastive = torch.zeros((), dtype=torch.float64)
    for m, a in combinations(range(len(names)), 2):
        contrastive = contrastive + weight(m, a) * literal_contrastive(joints[m], joints[a], keys, s.temperature)
    consistency = torch.zeros((), dtype=torch.float64)
    for m, a in permutations(range(len(names)), 2):
        of_input, of_joint = objective.input_queues[a], objective.joint_queues[m]
        if not (of_input.full and of_joint.full):
            continue
        v, u = (rows / rows.norm(dim=1, keepdim=True) for rows in
                (objective.heads[a].input_anchors, objective.heads[a].joint_anchors))  # fmt: skip
        s_a = {row: v @ e for row, e in inputs[a].items()}
        t = {row: u @ e for row, e in joints[m].items()}
        from_input = literal_targets(s_a, of_input.filled() @ v.T, s)
        from_joint = literal_targets(t, of_joint.filled() @ u.T, s)
        both = sorted(s_a.keys() & t.keys())
        costs = literal_cost(s_a, from_joint, both, s.cost_temperature)
        costs = costs + literal_cost(t, from_input, both, s.cost_temperature)
        consistency = consistency + weight(m, a) * costs
    return {
        "contrastive": contrastive,
        "consistency": consistency,
        "loss": s.alpha * contrastive + s.beta * consistency,
    }


def gradients(loss: Tensor, objective: SspcObjective) -> dict[str, Tensor]:
    named = dict(objective.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: torch.zeros(()) if g is None else g for name, g in zip(named, found, strict=True)}


CASES: list[tuple[tuple[str, ...], dict[str, Any], dict[str, bool]]] = [
    (("image", "text"), {}, {}),
    (("image", "text"), {"assignment": "single"}, {"missing": True}),
    (("image", "text"), {"slices": "continuous", "input_anchors": "raw"}, {"missing": True}),
    (("image", "text", "audio"), {"alpha": 0.7, "beta": 2.5}, {"missing": True}),
    (("image", "text", "audio"), {"input_anchors": "raw", "required": 5}, {}),
    (("image", "text", "audio"), {"temperature": 0.2, "cost_temperature": 0.3}, {"missing": True, "tokens": True}),
    (("image", "text", "audio"), {"depth": 1, "heads": 2, "queue": 0}, {"tokens": True}),
]


@pytest.mark.parametrize(("names", "changes", "kind"), CASES)
def test_loss_and_gradients_equal_the_literal_form(
    names: tuple[str, ...], changes: dict[str, Any], kind: dict[str, bool]
) -> None:
    """Targets of the literal form are cut off from the graph: so are those of the objective."""
    objective, batch = an_objective(names, **changes), a_batch(names, **kind)
    found, expected = loss_of(objective, batch), literal(objective, batch)
    assert found.keys() == expected.keys()
    assert expected["consistency"] > 0
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-9, rtol=1e-9)
    one, two = gradients(found["loss"], objective), gradients(expected["loss"], objective)
    for name, gradient in two.items():
        torch.testing.assert_close(one[name], gradient, atol=1e-9, rtol=1e-7)
        assert gradient.abs().max() > 0, name


@given(filled=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_a_pair_counts_once_its_queues_are_full(filled: list[int]) -> None:
    names = ("image", "text", "audio")
    objective = an_objective(names, queue=3, filled=0)
    torch.manual_seed(2)
    for queue, count in zip((*objective.input_queues, *objective.joint_queues), filled, strict=True):
        queue.push(normalize(torch.randn(count, queue.rows.shape[1]).double(), dim=1))
    batch = a_batch(names, missing=True)
    found, expected = loss_of(objective, batch), literal(objective, batch)
    torch.testing.assert_close(found["consistency"], expected["consistency"], atol=1e-9, rtol=1e-9)


def test_nothing_counts_before_the_queues_are_full_and_anchors_wait() -> None:
    objective, batch = an_objective(("image", "text"), filled=QUEUE - 1), a_batch(("image", "text"))
    found = loss_of(objective, batch)
    assert found["consistency"] == 0
    assert torch.equal(found["loss"], found["contrastive"])
    anchors = [value for name, value in gradients(found["loss"], objective).items() if name.endswith("anchors")]
    assert len(anchors) == 4
    assert all((gradient == 0).all() for gradient in anchors)


@pytest.mark.parametrize("tokens", [False, True])
def test_rows_that_are_not_there_reach_neither_loss_nor_gradient(tokens: bool) -> None:
    names = ("image", "text", "audio")
    objective, batch = an_objective(names), a_batch(names, missing=True, tokens=tokens)
    results = []
    for garbage in (0.0, 1e3, -7.0):
        filled = {}
        for name, one in batch.items():
            assert one.present is not None
            values = one.values.clone()
            values[~one.present] = garbage
            mask = None if one.mask is None else one.mask | ~one.present[:, None]
            filled[name] = Features(values, mask, one.present)
        loss = loss_of(objective, filled)["loss"]
        results.append((loss, gradients(loss, objective)))
        objective.after_step()
        for name, queue in zip(names, objective.joint_queues, strict=True):
            assert batch[name].present is not None
            expected = torch.stack([rows[1] for rows in rows_of(objective, batch)[names.index(name)].values()])
            mine = queue.filled()
            assert all((mine - row).abs().sum(1).min() < 1e-9 for row in expected)
        objective = an_objective(names)
    for loss, found in results[1:]:
        torch.testing.assert_close(loss, results[0][0], atol=1e-12, rtol=1e-12)
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, results[0][1][name], atol=1e-12, rtol=1e-9)


def test_the_rows_that_join_the_queues_are_those_that_were_there() -> None:
    names = ("image", "text")
    objective, batch = an_objective(names, filled=0), a_batch(names, missing=True)
    embedded = rows_of(objective, batch)
    first = loss_of(objective, batch)
    torch.testing.assert_close(loss_of(objective, batch)["loss"], first["loss"])  # until the step is done
    assert not any(len(queue.filled()) for queue in objective.input_queues)
    objective.after_step()
    for queues, space in ((objective.input_queues, 0), (objective.joint_queues, 1)):
        for queue, rows in zip(queues, embedded, strict=True):
            torch.testing.assert_close(queue.filled(), torch.stack([row[space] for row in rows.values()]))
    objective.after_step()  # a batch joins once
    assert [len(queue.filled()) for queue in objective.input_queues] == [len(rows) for rows in embedded]


@pytest.mark.parametrize("queue", [0, QUEUE])
@pytest.mark.parametrize("assignment", ["multi", "single"])
def test_a_batch_without_any_row_of_a_modality_is_a_batch_of_the_others(queue: int, assignment: str) -> None:
    names = ("image", "text", "audio")
    batch = a_batch(names)
    batch["audio"] = batch["audio"]._replace(present=torch.zeros(ROWS, dtype=torch.bool))
    objective = an_objective(names, queue=queue, assignment=assignment)
    loss = loss_of(objective, batch)["loss"]
    expected = literal_without_audio(objective, batch)
    torch.testing.assert_close(loss, expected, atol=1e-9, rtol=1e-9)
    found = gradients(loss, objective)
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    audio = [gradient for name, gradient in found.items() if name.startswith("heads.2.branch")]
    assert audio
    assert all((gradient == 0).all() for gradient in audio)


def literal_without_audio(objective: SspcObjective, batch: Batch) -> Tensor:
    """The first two heads and queues alone."""
    s = objective.settings
    two = SspcObjective({name: WIDTHS[name] for name in ("image", "text")}, s).double()
    for own, others in (
        (two.heads, objective.heads),
        (two.input_queues, objective.input_queues),
        (two.joint_queues, objective.joint_queues),
    ):
        for one, other in zip(own, others, strict=False):
            one.load_state_dict(other.state_dict())
    return loss_of(two, {name: batch[name] for name in ("image", "text")})["loss"]


def test_without_weight_there_is_no_consistency_no_queue_and_nothing_for_anchors() -> None:
    names = ("image", "text")
    objective, batch = an_objective(names, beta=0.0, alpha=0.5), a_batch(names)
    found = loss_of(objective, batch)
    assert found.keys() == {"loss", "contrastive"}
    torch.testing.assert_close(found["loss"], literal(objective, batch)["contrastive"] / 2)
    objective.after_step()
    assert all(queue.rows.numel() == 0 for queue in (*objective.input_queues, *objective.joint_queues))
    named = gradients(found["loss"], objective)
    assert all((named[name] == 0).all() for name in named if name.endswith("anchors"))


def test_a_pair_without_weight_adds_nothing() -> None:
    names = ("image", "text", "audio")
    batch = a_batch(names)
    objective = an_objective(names, modality_weight={"audio": 0.0})
    torch.testing.assert_close(loss_of(objective, batch)["loss"], literal_without_audio(objective, batch))


@given(order=st.permutations(range(ROWS)), missing=st.booleans(), tokens=st.booleans())
def test_the_order_of_the_instances_does_not_count(order: list[int], missing: bool, tokens: bool) -> None:
    names = ("image", "text", "audio")
    objective, batch = an_objective(names), a_batch(names, missing=missing, tokens=tokens)
    moved = {
        name: Features(*(None if part is None else part[order] for part in one))  # type: ignore[arg-type]
        for name, one in batch.items()
    }
    found, other = loss_of(objective, batch), loss_of(objective, moved, KEYS[order])
    for name, value in found.items():
        torch.testing.assert_close(other[name], value, atol=1e-10, rtol=1e-10)


@given(order=st.permutations(["image", "text", "audio"]), renamed=st.booleans())
def test_names_and_their_order_do_not_count(order: list[str], renamed: bool) -> None:
    names = ["image", "text", "audio"]
    objective, batch = an_objective(names), a_batch(names, missing=True)
    new = {name: f"z-{name}" if renamed else name for name in names}
    weights = {new[name]: value for name, value in objective.settings.modality_weight.items()}
    settings = objective.settings.model_copy(update={"modality_weight": weights})
    other = SspcObjective({new[name]: WIDTHS[name] for name in order}, settings).double()
    for place, name in enumerate(order):
        was = names.index(name)
        for own, theirs in (
            (other.heads, objective.heads),
            (other.input_queues, objective.input_queues),
            (other.joint_queues, objective.joint_queues),
        ):
            own[place].load_state_dict(theirs[was].state_dict())
    found, expected = loss_of(other, {new[name]: batch[name] for name in order}), loss_of(objective, batch)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-10, rtol=1e-10)


def test_what_a_head_starts_from_does_not_depend_on_the_order_of_the_modalities() -> None:
    names = ["text", "image", "audio"]
    one, two = an_objective(names), an_objective(names[::-1])
    for place, head in enumerate(one.heads):
        state = two.heads[2 - place].state_dict()
        assert all(torch.equal(value, state[name]) for name, value in head.state_dict().items())


def test_anchors_count_by_their_direction_and_start_at_unit_length() -> None:
    names = ("image", "text")
    objective, batch = an_objective(names), a_batch(names)
    before = loss_of(objective, batch)["loss"]
    for head in objective.heads:
        for anchors in (head.input_anchors, head.joint_anchors):
            torch.testing.assert_close(anchors.norm(dim=1), torch.ones(5).double(), atol=1e-6, rtol=0)
            with torch.no_grad():
                anchors.mul_(3)
    torch.testing.assert_close(loss_of(objective, batch)["loss"], before)


def test_rows_of_one_key_are_no_negatives() -> None:
    names = ("image", "text")
    objective, batch = an_objective(names, beta=0.0), a_batch(names)
    shared, apart = loss_of(objective, batch), loss_of(objective, batch, torch.arange(ROWS))
    assert shared["loss"] < apart["loss"]
    alone = loss_of(objective, batch, torch.zeros(ROWS, dtype=torch.int64))["loss"]
    assert alone.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("tokens", [False, True])
def test_noise_is_drawn_before_the_step_and_shifts_the_features(tokens: bool) -> None:
    names = ("image", "text")
    objective = an_objective(names, input_noise=0.5).float()
    batch = {n: Features(f.values.float(), f.mask) for n, f in a_batch(names, tokens=tokens).items()}
    noise, again = (objective.draw(ROWS, torch.Generator().manual_seed(3)) for _ in range(2))
    assert noise.keys() == {"noise/image", "noise/text"}
    assert all(torch.equal(noise[name], again[name]) for name in noise)
    many = objective.draw(4000, torch.Generator().manual_seed(4))["noise/image"]
    assert many.std() == pytest.approx(0.5, rel=0.05)
    shifted = {
        n: Features(f.values + (noise[f"noise/{n}"].unsqueeze(1) if tokens else noise[f"noise/{n}"]), f.mask)
        for n, f in batch.items()
    }
    expected = loss_of(objective, shifted)["loss"]
    torch.testing.assert_close(objective(batch, KEYS, noise, NO)["loss"], expected)
    assert (loss_of(objective, batch)["loss"] - expected).abs() > 1e-4


def test_dropout_reaches_every_modality() -> None:
    names = ("image", "text")
    objective, batch = an_objective(names, dropout=0.5), a_batch(names)
    noise = objective.draw(ROWS, torch.Generator().manual_seed(3))
    assert noise.keys() == {"drop/image", "drop/text"}
    plain = loss_of(objective, batch)["loss"]
    for name in noise:
        dropped = objective(batch, KEYS, {name: noise[name]}, NO)["loss"]
        assert (dropped - plain).abs() > 1e-6
    assert an_objective(names).draw(ROWS, torch.Generator()) == {}
