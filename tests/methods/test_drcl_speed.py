"""bfloat16, compilation and many members at once train what a plain step trains."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.methods.building import CLASSES, FORMS, OUT, batch_of, descend, everything, resolved, some_data
from xfeat.methods.base import Objective
from xfeat.methods.drcl import embed, orthogonal_columns
from xfeat.methods.drcl_stages import RscObjective, RscStage, SplObjective, SplStage
from xfeat.training.loop import compiled

CPU = torch.device("cpu")


def a_stage(kind: str, form: str = "as published", **changes: Any) -> SplStage | RscStage:
    torch.manual_seed(15)
    settings = resolved(rows=40, **{**FORMS[form], "dropout": 0.25, **changes})
    data = some_data(train=40)
    return SplStage(data, settings) if kind == "spl" else RscStage(data, orthogonal_columns(OUT, CLASSES), settings)


def distance(one: Objective, other: Objective, form: str = "as published") -> tuple[float, float]:
    """Largest difference of parameters, and the longest way any of them has gone from its start."""
    start = a_stage("spl" if isinstance(one, SplObjective) else "rsc", form).objective.state_dict()
    ours, theirs = one.state_dict(), other.state_dict()
    apart = max((ours[name] - theirs[name]).abs().max().item() for name in ours)
    return apart, max((ours[name] - start[name]).abs().max().item() for name in ours)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["spl", "rsc"])
def test_bfloat16_trains_float32_parameters_to_nearly_the_same_place(kind: str, form: str) -> None:
    exact, rounded = a_stage(kind, form), a_stage(kind, form, precision="bf16")
    x, y = next(iter(exact.train.pieces()))
    noise, q = exact.objective.draw(len(x), torch.Generator().manual_seed(1)), torch.tensor(0.5)
    for name, value in exact.objective(x, y, noise, q).items():
        found = rounded.objective(x, y, noise, q)[name]
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(value.item(), rel=0.02)
    for stage in (exact, rounded):
        descend(stage, 3)
    assert all(p.dtype == torch.float32 for p in rounded.objective.parameters())
    x, _ = everything(rounded.train)  # type: ignore[arg-type]
    cosine = (embed(exact.objective.branch, x) * embed(rounded.objective.branch, x)).sum(1)
    assert cosine.min() > 0.99
    assert cosine.min() < 1 - 1e-7  # bfloat16 was at work
    apart, gone = distance(exact.objective, rounded.objective, form)
    assert 0 < apart < 0.5 * gone


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_a_compiled_step_trains_the_same_parameters() -> None:
    # The smaller objective, in batches of one size: C++ takes seconds for every kernel, and again for another size.
    eager, faster = (a_stage("spl", batch_size=20) for _ in range(2))
    descend(eager, 5)
    descend(faster, 5, compiled(faster.objective, CPU))
    apart, gone = distance(eager.objective, faster.objective)
    assert apart < 1e-4
    assert gone > 0.03


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["spl", "rsc"])
def test_a_step_is_one_graph_whatever_the_size_of_its_batch_and_q(kind: str, form: str) -> None:
    eager, traced = a_stage(kind, form), a_stage(kind, form)
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    step = torch.compile(traced.objective, backend=count, fullgraph=True)
    assert {len(x) for x, _ in eager.train.epoch(16, torch.Generator())} == {13, 14}
    descend(eager, 5)
    descend(traced, 5, step)
    apart, gone = distance(eager.objective, traced.objective, form)
    assert apart < 1e-5
    assert gone > 0.03
    assert len(graphs) <= 2  # one for the first size, one for any


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["spl", "rsc"])
def test_many_members_at_once_are_each_their_own(kind: str, form: str) -> None:
    torch.manual_seed(16)
    data = some_data()
    objectives = [
        SplObjective(data, resolved(**{**FORMS[form], "dropout": 0.25}))
        if kind == "spl"
        else RscObjective(
            data, torch.randn(OUT, CLASSES), resolved(**{**FORMS[form], "dropout": 0.25, "class_weight": "balanced"})
        )
        for _ in range(3)
    ]
    x, y = batch_of(data, [3, 0, 17, 5, 11])
    q = torch.tensor(0.5)
    noises = [one.draw(len(x), torch.Generator().manual_seed(number)) for number, one in enumerate(objectives)]
    parameters, buffers = torch.func.stack_module_state(objectives)

    def loss(p: dict[str, Tensor], b: dict[str, Tensor], noise: dict[str, Tensor]) -> Tensor:
        value: Tensor = torch.func.functional_call(objectives[0], (p, b), (x, y, noise, q))["loss"]
        return value

    noise = {name: torch.stack([one[name] for one in noises]) for name in noises[0]}
    gradients, values = torch.func.vmap(torch.func.grad_and_value(loss))(parameters, buffers, noise)
    for member, objective in enumerate(objectives):
        alone = objective(x, y, noises[member], q)["loss"]
        alone.backward()
        torch.testing.assert_close(values[member], alone.detach())
        for name, parameter in objective.named_parameters():
            torch.testing.assert_close(gradients[name][member], parameter.grad, rtol=1e-4, atol=1e-6)
