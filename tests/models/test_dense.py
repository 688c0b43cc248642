"""Dense networks: sizes, logits of the input's size, weights from files."""

import sys

import pytest
import torch
import torchvision
from torch import nn

from calibrant.errors import InputError
from calibrant.models import SaliencyNet, create_dense
from calibrant.models.saliency import ours


def _parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_the_network_has_the_published_size_without_the_unused_parts():
    with torch.device("meta"):
        net = create_dense("aslp")
    assert _parameters(net.encoder) == 45_571_136 - 22_063_104
    assert _parameters(net) == 90_737_921 - 22_063_104 - 1_180_160
    assert _parameters(net) - _parameters(net.encoder) == 45_166_785 - 1_180_160


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("name", ["aslp", "torchvision:lraspp_mobilenet_v3_large", "smp:Unet/mobilenet_v2"])
def test_logits_have_the_size_of_the_image(name, classes):
    with torch.device("meta"):
        net = create_dense(name, num_classes=classes).eval()
        assert net(torch.zeros(2, 3, 64, 96)).shape == (2, classes, 64, 96)


@pytest.mark.parametrize("name", ["torchvision:deeplabv3_resnet50", "smp:DeepLabV3/resnet18"])
def test_deeplab_is_run_and_sees_the_image(name):
    torch.manual_seed(0)
    net = create_dense(name, num_classes=3).eval()
    with torch.no_grad():
        logits = net(torch.randn(2, 3, 32, 48))
    assert logits.shape == (2, 3, 32, 48)
    assert logits.isfinite().all()
    assert not torch.allclose(logits[0], logits[1])


def test_every_parameter_is_used():
    net = SaliencyNet(channels=4)
    net(torch.randn(2, 3, 64, 64)).mean().backward()
    assert all(p.grad is not None for p in net.parameters())


def _published(net):
    """Return the state dict of the network as the published code writes it, unused parts included."""
    state = {}
    for key, value in net.state_dict().items():
        head, _, rest = key.partition(".")
        if head == "encoder":
            first, _, last = rest.partition(".")
            branch = f"{first}_1" if first in ("layer3", "layer4") else first
            state[f"resnet.{branch}.{last}"] = value
            if branch != first:
                state[f"resnet.{first}_2.{last}"] = torch.zeros(1)
        elif head == "head":
            state[f"output_conv.{rest}"] = value
        else:
            k, _, last = rest.partition(".")
            k = int(k) + 1
            last = last.replace("convolutions", "conv2d_list").replace("side", "resConfUnit1")
            state[f"{'conv' if head == 'sums' else 'path'}{k}.{last.replace('refine', 'resConfUnit2')}"] = value
    state["path4.resConfUnit1.conv1.weight"] = torch.zeros(1)
    return state


def test_published_weights_are_accepted_without_their_unused_keys(tmp_path):
    torch.manual_seed(0)
    net = SaliencyNet(channels=4).eval()
    published = _published(net)
    assert "conv4.conv2d_list.3.bias" in published
    assert "path1.resConfUnit1.conv2.weight" in published
    assert "resnet.layer4_1.0.bn1.running_mean" in published
    assert ours(published).keys() == net.state_dict().keys()
    torch.save({f"module.{key}": value for key, value in published.items()}, tmp_path / "weights.pth")
    other = SaliencyNet(channels=4, weights=tmp_path / "weights.pth").eval()
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(net(images), other(images))


def test_an_encoder_comes_from_a_file(tmp_path):
    torch.manual_seed(0)
    resnet = torchvision.models.resnet50()
    torch.save(resnet.state_dict(), tmp_path / "resnet50.pt")
    net = create_dense("aslp", pretrained=tmp_path / "resnet50.pt")
    assert torch.equal(net.encoder.layer4[2].conv3.weight, resnet.layer4[2].conv3.weight)
    del resnet.fc
    torch.save(resnet.state_dict(), tmp_path / "headless.pt")
    create_dense("aslp", pretrained=str(tmp_path / "headless.pt"))


def test_keras_weights_see_the_image_that_they_were_trained_on(tmp_path):
    torch.manual_seed(0)
    resnet = torchvision.models.resnet50()
    nn.init.normal_(resnet.conv1.weight, std=1e-3)
    torch.save(resnet.state_dict(), tmp_path / "keras.pt")
    net = create_dense("aslp", pretrained=tmp_path / "keras.pt", form="keras").eval().double()
    resnet = resnet.eval().double()
    pixels = torch.randint(0, 256, (1, 3, 64, 64)).double()
    bgr = pixels.flip(1) - torch.tensor([103.939, 116.779, 123.68]).double().view(1, 3, 1, 1)
    mean, std = (
        torch.tensor(v).double().view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    theirs = resnet.conv1(bgr) / (1 + 1e-3) ** 0.5
    mine = net.encoder.bn1(net.encoder.conv1((pixels / 255 - mean) / std))
    torch.testing.assert_close(mine[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-4)
    strides = [(b.conv1.stride, b.conv2.stride) for b in (net.encoder.layer1[0], net.encoder.layer2[0])]
    assert strides == [((1, 1), (1, 1)), ((2, 2), (1, 1))]


def _onnx_file(path, *, sigmoid=True):
    """Write a network of two outputs: a map, and another map that is not wanted."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    torch.manual_seed(0)
    weights = {name: 0.1 * torch.randn(1, 3, 3, 3) for name in ("w0", "w1")}
    nodes = [
        helper.make_node("Conv", ["x", f"w{k}"], [f"z{k}"], pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        for k in (0, 1)
    ]
    nodes += [helper.make_node("Sigmoid", [f"z{k}"], [f"p{k}"]) for k in (0, 1)]
    graph = helper.make_graph(
        nodes,
        "maps",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, 8, 8])
            for name in (["p0", "p1"] if sigmoid else ["z0", "p1"])
        ],
        [numpy_helper.from_array(w.numpy(), name) for name, w in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return weights["w0"]


@pytest.mark.parametrize("sigmoid", [True, False])
def test_a_network_from_an_onnx_file_gives_logits_and_trains(tmp_path, sigmoid):
    weight = _onnx_file(tmp_path / "net.onnx", sigmoid=sigmoid)
    net = create_dense(f"onnx:{tmp_path / 'net.onnx'}")
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(net(images), torch.nn.functional.conv2d(images, weight, padding=1))
    net(images).mean().backward()
    assert _parameters(net) == 27
    assert all(p.grad is not None for p in net.parameters())


def test_an_onnx_file_that_cannot_be_used(tmp_path, monkeypatch):
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be converted"):
        create_dense(f"onnx:{tmp_path / 'broken.onnx'}")
    with pytest.raises(InputError, match="no ONNX file"):
        create_dense("onnx:absent.onnx")
    with pytest.raises(InputError, match="gives one map, not 3"):
        create_dense("onnx:absent.onnx", num_classes=3)
    with pytest.raises(InputError, match="no option 'width'"):
        create_dense("onnx:absent.onnx", width=3)
    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    with pytest.raises(InputError, match="pip install onnx2torch"):
        create_dense("onnx:absent.onnx")


def test_what_does_not_exist_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="did you mean 'aslp'"):
        create_dense("aslpp")
    with pytest.raises(InputError, match="no segmentation network 'resnet18'"):
        create_dense("torchvision:resnet18")
    with pytest.raises(InputError, match="3 channels, not 1"):
        create_dense("torchvision:fcn_resnet50", in_channels=1)
    with pytest.raises(InputError, match="3 channels, not 1"):
        create_dense("aslp", in_channels=1)
    with pytest.raises(InputError, match="no option 'depth'; it takes weights"):
        create_dense("torchvision:fcn_resnet50", depth=3)
    with pytest.raises(InputError, match="cannot be built"):
        create_dense("torchvision:fcn_resnet50", weights="absent")
    with pytest.raises(InputError, match="cannot build 'Unett/resnet18'"):
        create_dense("smp:Unett/resnet18")
    with pytest.raises(InputError, match="divisible by 32, not 64x40"):
        create_dense("smp:Unet/mobilenet_v2")(torch.zeros(1, 3, 64, 40))
    with pytest.raises(InputError, match="divisible by 32, not 40x64"):
        SaliencyNet(channels=4)(torch.zeros(1, 3, 40, 64))
    with pytest.raises(InputError, match="form must be"):
        create_dense("aslp", form="caffe")
    with pytest.raises(InputError, match="There is no file"):
        create_dense("aslp", pretrained="absent.pt")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        create_dense("aslp", pretrained=tmp_path / "broken.pt")
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="do not fit: Missing key"):
        create_dense("aslp", pretrained=tmp_path / "other.pt")
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(InputError, match="pip install segmentation-models-pytorch"):
        create_dense("smp:Unet/resnet18")


@pytest.mark.parametrize(
    ("name", "key", "build", "part"),
    [
        (
            "smp:Unet/mobilenet_v2",
            "encoder_weights",
            torchvision.models.mobilenet_v2,
            "net.encoder.features.3.",
        ),
        ("torchvision:fcn_resnet50", "weights_backbone", torchvision.models.resnet50, "net.backbone.layer2."),
    ],
)
def test_a_backbone_takes_the_weights_of_a_classifier_from_a_file(tmp_path, name, key, build, part):
    classifier = build(weights=None)
    state = {k: v for k, v in classifier.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "weights.pt")
    net = create_dense(name, **{key: str(tmp_path / "weights.pt")})
    inside = part.split(".", 2)[2]
    taken = {k.removeprefix(part): v for k, v in net.state_dict().items() if k.startswith(part)}
    given = {k.removeprefix(inside): v for k, v in state.items() if k.startswith(inside)}
    assert given
    assert all(torch.equal(taken[k], v) for k, v in given.items())

    del state[next(k for k in state if k.startswith(inside))]
    torch.save(state, tmp_path / "damaged.pth")
    with pytest.raises(InputError, match=r"The weights in .*damaged.pth do not fit: Missing key"):
        create_dense(name, **{key: str(tmp_path / "damaged.pth")})
