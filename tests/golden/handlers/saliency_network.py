"""Parts of the saliency network, with the published weights under our names."""

from torch import Tensor, nn

from calibrant.models.saliency import DilatedSum, Fusion, ResidualUnit
from tests.golden.framework import Case, handles


def _filled(module: nn.Module, case: Case, names: dict[str, str]) -> nn.Module:
    """Load the inputs w_… whose names begin like the keys of `names`, which become its values."""
    state = {}
    for name, value in case.inputs.items():
        for theirs, ours in names.items():
            if name.startswith(f"w_{theirs}"):
                layer, kind = name.removeprefix(f"w_{theirs}").rsplit("_", 1)
                state[f"{ours}{layer}.{kind}"] = value
    module.double().load_state_dict(state)
    return module


@handles("layer", "ResidualConvUnit")
def residual_unit(case: Case) -> dict[str, Tensor]:
    return {"out": _filled(ResidualUnit(case.params["channels"]), case, {"": ""})(case.inputs["x"])}


@handles("layer", "FeatureFusionBlock")
def fusion(case: Case) -> dict[str, Tensor]:
    two = "x1" in case.inputs
    names = {"resConfUnit2_": "refine."} | ({"resConfUnit1_": "side."} if two else {})
    block = _filled(Fusion(case.params["channels"], two), case, names)
    return {"out": block(case.inputs["x0"], case.inputs.get("x1"))}


@handles("layer", "DilatedSum")
def dilated_sum(case: Case) -> dict[str, Tensor]:
    layer = DilatedSum(case.params["in_channels"], case.params["out_channels"])
    assert [c.dilation[0] for c in layer.convolutions] == case.params["dilations"]
    return {"out": _filled(layer, case, {"conv2d_list_": "convolutions."})(case.inputs["x"])}
