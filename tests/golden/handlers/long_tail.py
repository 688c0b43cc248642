"""Long-tailed data, and whole epochs of the two stages of MiSLAS."""

import numpy as np
import torch
from torch import Tensor, nn

from calibrant.data.longtail import class_map_by_count, long_tailed_counts, long_tailed_selection
from calibrant.losses import create
from calibrant.losses.mixing import mixup
from calibrant.models import Network
from calibrant.training.decouple import DecoupledModule, replace_head
from calibrant.training.module import TrainingModule
from calibrant.training.recipe import (
    DecoupleConfig,
    LossConfig,
    MixConfig,
    OptimizerConfig,
    ScheduleConfig,
    StageConfig,
)
from tests.golden.framework import Case, handles


@handles("schedule", "long_tailed_counts")
def counts(case: Case) -> dict[str, Tensor]:
    classes, images = case.params["num_classes"], case.params["total_images"]
    profile = case.params["imb_type"]
    if profile == "none":
        return {"counts": torch.tensor(long_tailed_counts(classes, images, 1.0))}
    return {"counts": torch.tensor(long_tailed_counts(classes, images, 1 / case.params["imb_factor"], profile))}


@handles("transform", "long_tailed_selection")
def selection(case: Case) -> dict[str, Tensor]:
    if "counts" in case.params:
        targets = case.inputs["targets"]
        kept = long_tailed_selection(targets, case.params["counts"], case.params["rand_number"])
        return {"kept_indices": kept, "labels": targets[kept]}
    classes, each = case.params["num_classes"], case.params["images_per_class"]
    # Interleaved classes: image r of class k is the (r K + k)-th.
    targets = torch.arange(classes).repeat(each)
    sizes = long_tailed_counts(classes, len(targets), 1 / case.params["imb_factor"])
    kept = long_tailed_selection(targets, sizes, case.params["rand_number"])
    return {"rank_within_class": kept // classes, "labels": targets[kept]}


@handles("transform", "class_map_by_frequency")
def class_map(case: Case) -> dict[str, Tensor]:
    new = class_map_by_count(case.inputs["labels"])
    targets = new[case.inputs["labels"]]
    return {"class_map": new, "new_targets": targets, "cls_num_list": targets.bincount()}


@handles("schedule", "mixup_lambda_stream")
def lambdas(case: Case) -> dict[str, Tensor]:
    classes = case.params["num_classes"]
    targets = torch.arange(classes).repeat(50_000 // classes)
    generator = np.random.RandomState(case.params["rand_number"])
    long_tailed_selection(targets, [1] * classes, generator)
    drawn = [generator.beta(alpha, alpha) for alpha in case.params["alphas"]]
    return {"lam": torch.tensor(drawn, dtype=torch.float64)}


class _Tiny(Network):
    """The network of the golden epochs; `block` is a part of the trunk, or what follows a frozen trunk."""

    def __init__(self, places: bool, classes: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        self.block = _Bottleneck() if places else _Basic()
        self.classifier = nn.Linear(4 if places else 8, classes)
        self.places = places
        if places:
            self.conv.requires_grad_(False)
            self.bn.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "_Tiny":
        super().train(mode)
        if self.places:
            self.bn.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        return self.block(self.bn(self.conv(images)).relu()).mean((2, 3))


class _Basic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (out + nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))).relu()


class _Bottleneck(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 1, 1, bias=False), nn.BatchNorm2d(1)
        self.conv2, self.bn2 = nn.Conv2d(1, 1, 3, 1, 1, bias=False), nn.BatchNorm2d(1)
        self.conv3, self.bn3 = nn.Conv2d(1, 4, 1, bias=False), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(out)) + x).relu()


def _slots(case: Case, network: nn.Module) -> list[Tensor]:
    """Return the tensors of the network in the order of the golden state."""
    state = network.state_dict()
    renamed = [name.replace("model.", "").replace("classifier.fc", "classifier") for name, _ in _layout(case)]
    return [state[name] for name in renamed]


def _layout(case: Case) -> list[tuple[str, list[int]]]:
    return [(name, shape) for name, shape in case.params["state_layout"]]


def _load(case: Case, network: nn.Module) -> None:
    at = 0
    for slot in _slots(case, network):
        slot.copy_(case.inputs["init_state"][at : at + slot.numel()].view_as(slot))
        at += slot.numel()


def _network(case: Case) -> _Tiny:
    network = _Tiny(case.params["dataset"] == "places", len(case.params["cls_num_list"]))
    network.to(case.inputs["images"].dtype)
    _load(case, network)
    return network


def _train(case: Case, module: TrainingModule) -> None:
    """Run the epochs of the case: the module's own step, optimizer and schedule on the given batches."""
    params = case.params
    (optimizer,), (schedule,) = module.configure_optimizers()
    if module._mixer is not None:
        draws = zip(case.inputs["lam"].tolist(), case.inputs["perm"].long(), strict=True)
        module._mixer.mix = lambda images, target, epoch: mixup(images, target, *next(draws))
    batches = list(zip(case.inputs["images"], case.inputs["labels"].long(), strict=True))
    for _ in range(params["epochs"]):
        module.train()
        for images, target in batches[: params["batches_used_per_epoch"]]:
            loss = module._loss_of({"image": images, "target": target, "id": target, "index": target})
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    module.eval()


def _stage(case: Case, kind: type[StageConfig], **given: object) -> StageConfig:
    params = case.params
    return kind(
        optimizer=OptimizerConfig(
            lr=params["lr"], momentum=params["momentum"], weight_decay=params["weight_decay"]
        ),
        mix=MixConfig("mixup" if params["mixup"] else "none"),
        epochs=params["num_epochs"],
        **given,
    )


def _after(case: Case, module: TrainingModule) -> dict[str, Tensor]:
    return {
        "final_state": torch.cat([slot.flatten() for slot in _slots(case, module.network)]),
        "eval_logits": module.network(case.inputs["eval_images"]),
    }


# The reference computes in float32, in another order of operations.
@handles("state-update", "stage1_epoch", tolerance=2e-6)
def stage1_epoch(case: Case) -> dict[str, Tensor]:
    schedule = ScheduleConfig("multistep", milestones=[160, 180], gamma=0.1, warmup=5)
    stage = _stage(case, StageConfig, loss=LossConfig("ce"), schedule=schedule)
    counts = torch.tensor(case.params["cls_num_list"])
    module = TrainingModule(_network(case), create("ce"), stage, class_counts=counts)
    _train(case, module)
    return _after(case, module)


@handles("state-update", "stage2_epoch", tolerance=2e-6)
def stage2_epoch(case: Case) -> dict[str, Tensor]:
    params = case.params
    counts = torch.tensor(params["cls_num_list"])
    stage = _stage(
        case, DecoupleConfig, method="mislas", shift_bn=params["shift_bn"], lr_factor=params["lr_factor"]
    )
    network = _network(case)
    replace_head(network, stage)
    loss = create("las", class_counts=counts, eps_head=params["smooth_head"], eps_tail=params["smooth_tail"])
    module = DecoupledModule(network, loss, stage, class_counts=counts)
    _train(case, module)
    return {**_after(case, module), "final_scale": network.classifier.scale[None]}


@handles("state-update", "ShiftedBatchNorm")
def shifted_batch_norm(case: Case) -> dict[str, Tensor]:
    given = case.inputs
    network = _Normed(len(given["weight"])).to(given["x"].dtype)
    for name in ("running_mean", "running_var", "weight", "bias"):
        getattr(network.norm, name).data.copy_(given[name])
    stage = DecoupleConfig(method="crt", shift_bn=True)
    replace_head(network, stage)
    module = DecoupledModule(network, create("ce"), stage, class_counts=torch.ones(2))
    seen: dict[str, list[Tensor]] = {"y": [], "running_mean_per_step": [], "running_var_per_step": []}
    for x in given["x"]:
        module(x)
        seen["y"].append(network.seen)
        seen["running_mean_per_step"].append(network.norm.running_mean.clone())
        seen["running_var_per_step"].append(network.norm.running_var.clone())
    module.eval()(given["x"][0])
    return {name: torch.stack(values) for name, values in seen.items()} | {
        "y_eval": network.seen,
        "weight_after": network.norm.weight,
        "num_batches_tracked": network.norm.num_batches_tracked,
    }


class _Normed(Network):
    """A batch norm and its last output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.classifier = nn.BatchNorm2d(channels), nn.Linear(channels, 2)

    def features(self, images: Tensor) -> Tensor:
        self.seen = self.norm(images)
        return self.seen.mean((2, 3))
