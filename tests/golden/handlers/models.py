"""Networks: forward passes with weights filled by rule, and sizes."""

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.resnet import BasicBlock as WideBasicBlock
from torchvision.models.resnet import Bottleneck

from calibrant import models
from calibrant.models.resnet_cifar import BasicBlock, CifarResNet, wide_resnet
from tests.golden.framework import Case, handles


def _fill_resnet32(net: CifarResNet) -> None:
    pairs = [(net.conv1, net.bn1)]
    blocks = [m for m in net.modules() if isinstance(m, BasicBlock)]
    pairs += [pair for b in blocks for pair in ((b.conv1, b.bn1), (b.conv2, b.bn2))]
    for k, (conv, norm) in enumerate(pairs):
        i = torch.arange(conv.weight.numel(), dtype=torch.float64)
        weight = (2 / (9 * conv.in_channels)) ** 0.5 * 1.4 * torch.sin(0.7 * i + k)
        conv.weight.data = weight.reshape(conv.weight.shape)
        j = torch.arange(norm.num_features, dtype=torch.float64)
        norm.weight.data = 1 + 0.1 * torch.cos(j + k)
        norm.bias.data = 0.05 * torch.sin(j + k)
        norm.running_mean = 0.02 * torch.cos(2 * j + k)
        norm.running_var = 1 + 0.1 * torch.sin(j + k) ** 2
    last = net.classifier
    i = torch.arange(last.weight.numel(), dtype=torch.float64)
    last.weight.data = (0.2 * torch.cos(0.3 * i)).reshape(last.weight.shape)
    last.bias.data = 0.1 * torch.sin(torch.arange(len(last.bias), dtype=torch.float64))


@handles("layer", "ResNet32")
def resnet32(case: Case) -> dict[str, Tensor]:
    net = CifarResNet(case.params["num_classes"], 32).double()
    _fill_resnet32(net)
    batch = case.params["batch"]
    i = torch.arange(batch * 3 * 32 * 32, dtype=torch.float64)
    x = torch.sin(case.params["input_rate"] * i**1.3).reshape(batch, 3, 32, 32).requires_grad_()
    net.eval()
    features, logits = net.features(x), net(x)
    net.train()
    trained = net(x)
    F.cross_entropy(trained, torch.arange(batch)).backward()
    assert x.grad is not None
    return {
        "features": features,
        "logits": logits,
        "train_mode_logits": trained,
        "grad_input_pooled": F.avg_pool2d(x.grad, 4),
        "grad_stem_weight": net.conv1.weight.grad,
    }


@handles("layer", "BasicBlock")
def basic_block(case: Case) -> dict[str, Tensor]:
    block = BasicBlock(case.params["in_planes"], case.params["planes"], case.params["stride"]).double().eval()
    state, at = {}, 0
    for name, shape in case.params["state_layout"]:
        count = torch.Size(shape).numel()
        state[name.removeprefix("block.")] = case.inputs["state"][at : at + count].reshape(shape)
        at += count
    block.load_state_dict(state, strict=False)
    return {"y": block(case.inputs["x"]), "shortcut": block.shortcut(case.inputs["x"])}


def _sizes(net: nn.Module, side: int) -> dict[str, int]:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        out = net.to("meta")(torch.zeros(1, 3, side, side))
    kinds = [type(module) for module in net.modules()]
    return {
        "params_features": sum(p.numel() for p in net.parameters()),
        "buffers": sum(b.numel() for b in net.buffers()),
        "flops_features": counter.get_total_flops(),
        "bn_layers": kinds.count(nn.BatchNorm2d),
        "conv_layers": kinds.count(nn.Conv2d),
        "out_numel": out.numel(),
    }


@handles("layer", "resnet32_fe")
def resnet32_features(case: Case) -> dict[str, int]:
    net = models.create("resnet32", num_classes=10)
    net.classifier = nn.Identity()
    return _sizes(net, case.params["input_hw"])


@handles("layer", "resnet50_fe")
def resnet50_features(case: Case) -> dict[str, int]:
    net = models.create("torchvision:resnet50", num_classes=10)
    net.classifier = nn.Identity()
    return _sizes(net, case.params["input_hw"])


@handles("layer", "places_resnet152_fe")
def places_trunk(case: Case) -> dict[str, int]:
    net = torchvision.models.resnet152()
    net.layer4 = net.layer4[:2]
    net.avgpool = net.fc = nn.Identity()
    return _sizes(net, case.params["input_hw"])


@handles("layer", "places_block")
def places_block(case: Case) -> dict[str, int]:
    return {"params": sum(p.numel() for p in Bottleneck(2048, 512).parameters())}


@handles("layer", "Classifier")
def classifier(case: Case) -> dict[str, int]:
    net = CifarResNet(case.params["num_classes"], 32)
    assert net.classifier.in_features == case.params["feat_in"]
    return {"params": sum(p.numel() for p in net.classifier.parameters())}


def _uniform(shape: torch.Size) -> Tensor:
    i = torch.arange(shape.numel(), dtype=torch.int64)
    u = (i * 2654435761).remainder(2**32).double() / 2**32 - 0.5
    return (5 * u / (shape.numel() / shape[0]) ** 0.5).reshape(shape)


@handles("layer", "TinyImageNetResNet")
def tiny_resnet(case: Case) -> dict[str, Tensor | int]:
    depths = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3]}
    depth = case.params["depth"]
    block = WideBasicBlock if depth < 50 else Bottleneck
    net = wide_resnet(block, depths[depth], case.params["num_classes"], 3, pool=2).double().eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data = _uniform(module.weight.shape)
    net.classifier.bias.data.zero_()
    with torch.no_grad():
        return {"logits": net(case.inputs["x"]), "n_parameters": sum(p.numel() for p in net.parameters())}
