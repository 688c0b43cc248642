import pytest
import torch
from torch import nn

from calibrant import models
from calibrant.errors import InputError
from calibrant.models.base import Split

DEPTHS = {
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
}


@pytest.mark.parametrize("name", DEPTHS)
def test_the_narrow_family_has_the_published_sizes(name):
    with torch.device("meta"):
        net = models.create(name, num_classes=10)
    assert sum(p.numel() for p in net.parameters()) == DEPTHS[name]
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == int(name.removeprefix("resnet")) - 1


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet50_cifar", 23_520_842), ("resnet101_cifar", 42_512_970)]
)
def test_the_wide_family_keeps_the_resolution_of_its_stem(name, parameters):
    with torch.device("meta"):
        net = models.create(name, num_classes=10)
        maps = net.body.maxpool(net.body.conv1(torch.zeros(1, 3, 32, 32)))
        assert net.features(torch.zeros(2, 3, 32, 32)).shape == (2, 2048)
    assert maps.shape == (1, 64, 32, 32)
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18_tiny", 11_578_632),
        ("resnet34_tiny", 21_686_792),
        ("resnet50_tiny", 25_138_952),
        ("resnet101_tiny", 44_131_080),
        # Three bottlenecks of 1,117,184 more in the third stage.
        ("resnet110_tiny", 44_131_080 + 3 * 1_117_184),
        # Four of 280,064 more than ResNet-50 in the second stage, thirty in the third.
        ("resnet152_tiny", 25_138_952 + 4 * 280_064 + 30 * 1_117_184),
    ],
)
def test_the_family_of_tiny_imagenet_has_the_published_sizes(name, parameters):
    with torch.device("meta"):
        net = models.create(name, num_classes=200)
        images = torch.zeros(2, 3, 64, 64)
        assert net.body.maxpool(net.body.conv1(images)).shape == (2, 64, 64, 64)
        features = net.features(images).shape[1]
    assert features == (2048 if name in ("resnet18_tiny", "resnet34_tiny") else 8192)
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "channels", "side"),
    [
        ("resnet20", 3, 32),
        ("digits_cnn", 1, 8),
        ("timm:resnet10t", 1, 32),
        ("torchvision:mobilenet_v3_small", 3, 32),
    ],
)
def test_logits_are_the_classifier_on_the_features(name, channels, side):
    net = models.create(name, num_classes=7, in_channels=channels).eval()
    images = torch.randn(2, channels, side, side)
    logits = net(images)
    assert logits.shape == (2, 7)
    assert isinstance(net.classifier, nn.Linear)
    torch.testing.assert_close(logits, net.classifier(net.features(images)))


def test_convolutions_and_classifier_are_drawn_by_fan_in():
    torch.manual_seed(0)
    net = models.create("resnet110", num_classes=100)
    for module in (net.layer3[1].conv1, net.layer2[1].conv2, net.classifier):
        fan_in = module.weight[0].numel()
        assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
    assert net.classifier.bias.abs().max() <= 1 / 8


def test_what_does_not_exist_is_named():
    with pytest.raises(InputError, match="did you mean 'resnet32'"):
        models.create("resnet_32", num_classes=10)
    with pytest.raises(InputError, match="timm has no model 'nothing'"):
        models.create("timm:nothing", num_classes=10)
    with pytest.raises(InputError, match="torchvision has no classifier 'nothing'"):
        models.create("torchvision:nothing", num_classes=10)
    with pytest.raises(InputError, match="3 channels, not 1"):
        models.create("torchvision:resnet18", num_classes=10, in_channels=1)
    with pytest.raises(InputError, match="cannot be built"):
        models.create("torchvision:resnet18", num_classes=10, dorpout=0.5)
    with pytest.raises(InputError, match="no linear layer"):
        Split(nn.Sequential(nn.Conv2d(3, 3, 1)))
