import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from xfeat.backbones.base import PRECISIONS
from xfeat.backbones.runtime import autocast_name, exact_float32, inference, pick_device, stated_precision
from xfeat.errors import InputError


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda0", "cuda:-1", "mps"])
def test_a_device_of_another_name(device: str) -> None:
    with pytest.raises(InputError, match=f"device '{device}': choose auto, cpu, cuda or cuda:N"):
        pick_device(device)


def test_takes_a_device_that_is_there() -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") == ("cuda" if count else "cpu")
    for device in ["cuda", *(f"cuda:{number}" for number in range(count + 1))]:
        if int(device.partition(":")[2] or 0) < count:
            assert pick_device(device) == device
        else:
            with pytest.raises(InputError, match=f"device '{device}': (torch .* sees no GPU|there is cuda:0)"):
                pick_device(device)


def test_float32_stays_exact_until_the_last_thread_is_done() -> None:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with exact_float32():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    try:
        with exact_float32():
            thread.start()
            inside.wait()
        within = torch.backends.cudnn.allow_tf32
        leave.set()
        thread.join()
        assert within is False
        assert torch.backends.cudnn.allow_tf32 is True
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_precision_is_that_of_the_operations_not_of_the_weights() -> None:
    layer, batch = torch.nn.Linear(4, 4), torch.ones(2, 4)
    for precision, expected in (("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)):
        with inference("cpu", precision):
            assert layer(batch).dtype == expected
            assert not torch.is_grad_enabled()
        assert layer.weight.dtype == torch.float32
    assert [autocast_name(precision) for precision in ("fp32", "bf16")] == ["fp32", "bf16 autocast"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_fingerprint_says_the_precision_that_makes_it_again(precision: str) -> None:
    said = {"precision": autocast_name(precision)}
    assert stated_precision(said) == stated_precision({"inner": said, "frames": 8}) == precision
    assert stated_precision({}) == "fp32"


BROKEN = """
from xfeat.backbones.registry import open_backbone
from xfeat.errors import InputError
for spec in ("open_clip:RN50@openai", "timm:resnet18.a1_in1k"):
    try:
        open_backbone(spec, "image")
    except InputError as error:
        print(error)
"""


def test_torch_and_torchvision_that_do_not_belong_together_are_explained(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "not a matching pair" in line
        assert "pip install --force-reinstall torch torchvision --index-url" in line
