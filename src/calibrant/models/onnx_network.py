"""A trained network out of an ONNX file, as a module that trains further."""

from pathlib import Path

from torch import nn
from torch.fx import GraphModule, Node

from calibrant.errors import InputError


def load_onnx(path: Path) -> nn.Module:
    """Read a network that gives one map an image, and make it give logits.

    Of several outputs the first is kept, with what it needs. If it ends in a sigmoid, that is taken off, so
    that logits come out; otherwise the output is taken for logits already. Sizes fixed in the file stay fixed.

    Args:
        path: the file; U²-Net and its small form in the usual export, for example.

    Returns:
        A module from (N, C, H, W) to (N, 1, H, W), with the weights as parameters.

    Raises:
        InputError: onnx2torch is not installed, or the file is absent or cannot be converted.

    Qin, Zhang, Huang, Dehghan, Zaiane, Jagersand: "U2-Net: Going Deeper with Nested U-Structure for Salient
    Object Detection", Pattern Recognition 2020.
    """
    try:
        import onnx2torch
    except ImportError:
        raise InputError(f"The network 'onnx:{path}' needs onnx2torch: pip install onnx2torch.") from None
    path = path.expanduser()
    if not path.is_file():
        raise InputError(f"There is no ONNX file {path}.")
    try:
        net: GraphModule = onnx2torch.convert(path)
    except Exception as error:
        # onnx, protobuf and onnx2torch each have their own errors for a file that they cannot read.
        raise InputError(f"{path} cannot be converted by onnx2torch: {error}") from error
    return _logits_of_first_output(net)


def _logits_of_first_output(net: GraphModule) -> GraphModule:
    (output,) = (node for node in net.graph.nodes if node.op == "output")
    first = output.args[0]
    while isinstance(first, list | tuple):
        first = first[0]
    assert isinstance(first, Node)
    if first.op == "call_module" and isinstance(net.get_submodule(str(first.target)), nn.Sigmoid):
        first = first.args[0]
    output.args = (first,)
    net.graph.eliminate_dead_code()
    net.delete_all_unused_submodules()
    net.recompile()
    return net
