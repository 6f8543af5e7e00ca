from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.registry import METHODS


def test_methods_are_listed(xfeat: Xfeat) -> None:
    code, out, err = xfeat("methods")
    assert (code, err) == (0, "")
    for name in METHODS:
        assert f"{name}: " in out


def test_every_setting_of_a_method_is_shown(xfeat: Xfeat) -> None:
    code, out, _ = xfeat("methods", "drcl")
    assert code == 0
    shown = [line.split("=")[0] for line in out.splitlines() if not line.startswith(" ")]
    assert shown == list(DrclSettings.model_fields)
    assert max(map(len, out.splitlines())) <= 100


def test_an_unknown_method_is_one_line(xfeat: Xfeat) -> None:
    refused(xfeat("methods", "drlc"), "unknown method 'drlc': did you mean drcl?")
