"""The two networks of long-tailed recognition: doubled last block, frozen trunk."""

import pytest
import torch
from torchvision.models.resnet import Bottleneck, ResNet

from calibrant import models
from calibrant.errors import InputError
from calibrant.models.bbn import bilateral_cifar
from calibrant.models.places import FrozenTrunk, pretrained

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def small_resnet(seed: int = 0) -> ResNet:
    torch.manual_seed(seed)
    return ResNet(Bottleneck, [1, 1, 1, 2], num_classes=7)


@pytest.mark.parametrize(
    ("name", "plain", "width", "size"),
    [("bbn_resnet32", "resnet32", 64, 538_778), ("bbn_resnet50", "torchvision:resnet50", 2048, 28_011_594)],
)
def test_bbn_has_one_block_and_half_a_classifier_more_than_the_resnet(name, plain, width, size):
    with torch.device("meta"):
        net, single = (models.create(each, num_classes=10) for each in (name, plain))
    sizes = [sum(p.numel() for p in n.parameters()) for n in (net, single, net.branch_a, net.branch_b)]
    assert sizes[0] == size
    assert sizes[2] == sizes[3]
    assert sizes[0] - sizes[1] == sizes[3] + width * 10
    images = torch.zeros(2, 3, 64, 64, device="meta")
    assert net(images, images, alpha=0.9).shape == (2, 10)
    assert net.features(images).shape == (2, 2 * width)


def test_at_test_both_branches_weigh_one_on_the_same_images():
    net = bilateral_cifar(5, 14).eval()
    both = net.features(IMAGES)
    assert both.shape == (4, 128)
    torch.testing.assert_close(net(IMAGES), net(IMAGES, IMAGES, alpha=0.5))
    maps = net.trunk(IMAGES)
    torch.testing.assert_close(both[:, :64], net.branch_a(maps).mean((2, 3)))
    torch.testing.assert_close(both[:, 64:], net.branch_b(maps).mean((2, 3)))


def test_the_share_decides_which_branch_learns():
    net = bilateral_cifar(5, 14)
    for alpha, silent in ((1.0, net.branch_b), (0.0, net.branch_a)):
        net.zero_grad()
        net(IMAGES, IMAGES.flip(0), alpha).square().sum().backward()
        still = [p.grad.abs().max() == 0 for p in silent.parameters()]
        assert all(still)
        assert all(p.grad.abs().max() > 0 for p in net.trunk.parameters() if p.dim() == 4)


def test_without_a_second_block_nothing_can_be_doubled():
    with pytest.raises(InputError, match="at least 14"):
        bilateral_cifar(5, 8)
    with pytest.raises(InputError, match="one block"):
        FrozenTrunk(ResNet(Bottleneck, [1, 1, 1, 1]), 5)


def test_training_moves_the_block_and_the_classifier_alone():
    net = FrozenTrunk(small_resnet(), num_classes=5).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(IMAGES).square().sum().backward()
    optimizer.step()
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == {"block", "classifier"}
    assert {f"block.bn{i}.running_mean" for i in (1, 2, 3)} <= moved
    assert not any(module.training for module in net.trunk.modules())
    assert net.block.bn1.training
    assert not net.eval().block.bn1.training


def test_the_trunk_is_that_of_the_pretrained_network():
    source = small_resnet().eval()
    net = FrozenTrunk(small_resnet(), num_classes=5).eval()
    net.block.load_state_dict(source.layer4[-1].state_dict())
    source.fc = torch.nn.Identity()
    torch.testing.assert_close(net.features(IMAGES), source(IMAGES))


def test_the_published_network_trains_one_block_of_resnet152():
    with torch.device("meta"):
        net = models.create("places_resnet152", num_classes=365)
    assert sum(p.numel() for p in net.trunk.parameters()) == 53_681_216
    assert sum(p.numel() for p in net.block.parameters()) == 4_462_592
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert trained == 4_462_592 + 2048 * 365 + 365


def test_weights_come_from_a_file(tmp_path):
    path = tmp_path / "weights.pth"
    source = small_resnet(seed=1)
    torch.save(source.state_dict(), path)
    net = pretrained(small_resnet(), "resnet50", str(path))
    assert torch.equal(net.layer4[0].conv1.weight, source.layer4[0].conv1.weight)
    assert not torch.equal(net.fc.weight, source.fc.weight)
    torch.save({"conv1.weight": source.conv1.weight}, path)
    with pytest.raises(InputError, match="lacks bn1"):
        pretrained(small_resnet(), "resnet50", str(path))
    torch.save({"conv1.weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="does not fit"):
        pretrained(small_resnet(), "resnet50", str(path))
    with pytest.raises(InputError, match=r"IMAGENET1K_V1, .*, not 'nowhere'"):
        pretrained(small_resnet(), "resnet50", "nowhere")
