import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.extraction.launch_settings import minutes, slurm_settings


def test_settings() -> None:
    words = ["partition=gpu", "time=1:30:00", "gpus_per_node=1", "mem_gb=7.5", "cpus_per_task=4", "gres=gpu:a=1"]
    assert slurm_settings(words) == {
        "partition": "gpu",
        "time": 90,
        "gpus_per_node": 1,
        "mem_gb": 7.5,
        "cpus_per_task": 4,
        "gres": "gpu:a=1",
    }
    assert slurm_settings([]) == {}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("partitoin=gpu", r"did you mean partition\?"),
        ("nodes=2", "keys are partition, time"),
        ("partition", "write KEY=VALUE"),
        ("partition=", "takes a word"),
        ("cpus_per_task=two", "a number above 0"),
        ("cpus_per_task=0", "a number above 0"),
        ("mem_gb=nan", "a number above 0"),
        ("mem_gb=inf", "a number above 0"),
        ("time=soon", "minutes, hours:minutes:seconds or days-hours"),
        ("time=1:2:3:4", "minutes, hours:minutes:seconds or days-hours"),
    ],
)
def test_refusals(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        slurm_settings([word])
    assert "\n" not in str(error.value)


def test_a_key_twice() -> None:
    with pytest.raises(InputError, match="qos is given twice"):
        slurm_settings(["qos=a", "qos=b"])


@given(st.integers(0, 30), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_times_as_slurm_writes_them(days: int, hours: int, mins: int, seconds: int) -> None:
    up = (seconds + 59) // 60
    assert minutes(f"{days}-{hours}") == max(1, 60 * (24 * days + hours))
    assert minutes(f"{days}-{hours}:{mins}") == max(1, 60 * (24 * days + hours) + mins)
    assert minutes(f"{days}-{hours:02}:{mins:02}:{seconds:02}") == max(1, 60 * (24 * days + hours) + mins + up)
    assert minutes(f"{hours}:{mins:02}:{seconds:02}") == max(1, 60 * hours + mins + up)
    assert minutes(f"{mins}:{seconds:02}") == max(1, mins + up)
    assert minutes(f"{mins}") == max(1, mins)
