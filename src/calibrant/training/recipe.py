"""A recipe: everything that an experiment depends on, as a tree of dataclasses.

The fields are the options of the command line: `--train.epochs 3` sets `recipe.train.epochs`.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal


@dataclass
class DataConfig:
    """Which data, and how they are divided.

    Args:
        name: name of the data set; `calibrant list data` shows all.
        root: folder that holds the data sets on disk.
        download: fetch the data set through torchvision when it is missing.
        train: number of training samples that are kept; null for all.
        val: number of samples held out for validation; null for the data set's own number.
        workers: processes that read images ahead, of the data sets that are read from disk image by image.
        imbalance: images of the largest class over those of the smallest, of the long-tailed sets; null for
            the data set's own number.
        split_seed: seed of the division into train and validation, the same for every run, so that runs
            with different seeds can be compared image by image.
        teach: validation samples that teach a loss which learns from them, such as CALS, and do nothing else;
            null, as published: all of them teach, choose the epoch and calibrate.
        args: options of the data set itself.
    """

    name: str = "digits"
    root: str = "data"
    download: bool = False
    train: int | None = None
    val: int | None = None
    workers: int = 0
    imbalance: float | None = None
    split_seed: int = 1
    teach: int | None = None
    args: dict[str, Any] = field(default_factory=dict)


@dataclass
class ModelConfig:
    """Which network.

    Args:
        name: name of the network; `calibrant list models` shows all, `timm:NAME` and `torchvision:NAME` take
            one from there, `hf:FOLDER` a text classifier from a folder.
        head: "linear", the network's own classifier; "cosine", that of LDAM, whose features and weights have
            length 1.
        args: options of the network itself.
    """

    name: str = "digits_cnn"
    head: Literal["linear", "cosine"] = "linear"
    args: dict[str, Any] = field(default_factory=dict)


@dataclass
class LossConfig:
    """Which loss.

    Args:
        name: name of the loss; `calibrant list losses` shows all.
        args: options of the loss itself, as in `--train.loss.args.margin 6`.
    """

    name: str = "ce"
    args: dict[str, Any] = field(default_factory=dict)


@dataclass
class OptimizerConfig:
    """How the weights are moved.

    Args:
        name: the method.
        lr: learning rate.
        momentum: momentum, of SGD.
        nesterov: Nesterov's form of the momentum, of SGD.
        betas: decay of the two moments, of Adam and AdamW.
        weight_decay: weight decay, on every parameter.
    """

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-4


@dataclass
class ScheduleConfig:
    """How the learning rate changes from epoch to epoch.

    Args:
        name: "multistep" multiplies by gamma at each milestone, "cosine" falls along half a cosine, "constant"
            does not change; "compounding" multiplies after every epoch e by gamma to the power of floor(e /
            `every`), as the published code of ASLP.
        milestones: 0-based epochs at which "multistep" steps.
        gamma: factor of a step.
        every: epochs of a period of "compounding".
        final: share of the rate to which "cosine" falls.
        warmup: epochs over which the rate first grows linearly.
        warmup_start: share of the rate in the first epoch; the whole rate is then reached in the epoch after
            the warm-up. Null for 1 / warmup, with which its last epoch has the whole rate.
    """

    name: Literal["constant", "multistep", "cosine", "compounding"] = "constant"
    milestones: list[int] = field(default_factory=list)
    gamma: float = 0.1
    every: int = 10
    final: float = 0.0
    warmup: int = 0
    warmup_start: float | None = None


@dataclass
class MixConfig:
    """Whether images are mixed in pairs, and their labels with them.

    Args:
        name: "none"; "mixup", images and labels by the same share; "remix", where the label of a class that
            has `kappa` times fewer images takes the whole when its image has a share above 1 - `tau`. Beside
            the images as they are: "regmixup", whose loss is the mean of that of the images and that of their
            mixtures; "rank_mixup", cross-entropy of the images and a penalty where one is less confident than
            its mixtures.
        alpha: one share a batch is drawn from Beta(alpha, alpha).
        kappa: of Remix.
        tau: of Remix.
        ranking: of RankMixup: "margin" (MRL) or "ndcg" (M-NDCG).
        copies: of RankMixup, mixtures of each image; 3 published with "ndcg".
        weight: of RankMixup, factor of the penalty.
        margin: of RankMixup with "margin".
    """

    name: Literal["none", "mixup", "remix", "regmixup", "rank_mixup"] = "none"
    alpha: float = 1.0
    kappa: float = 3.0
    tau: float = 0.5
    ranking: Literal["margin", "ndcg"] = "margin"
    copies: int = 1
    weight: float = 0.1
    margin: float = 2.0


@dataclass
class SamplerConfig:
    """Which samples an epoch visits.

    Args:
        name: "shuffle", each sample once; "class_balanced", the classes in turn, `per_class` of each at a
            time; "inverse_frequency" and "effective_number", draws with replacement in which an image weighs
            one over its class's number of images, plain or effective; "bilateral", of each step two
            batches, one of a shuffle and one in which a rarer class comes more often, for a bilateral-branch
            network.
        per_class: of "class_balanced".
        beta: of "effective_number".
        extra_batches: batches of an epoch beyond those of one pass over the training samples; the second stage
            of the code of MiSLAS has one.
        horizon: of "bilateral", epochs over which the share of the shuffled batch falls to 0; null for those of
            the stage.
    """

    name: Literal["shuffle", "class_balanced", "inverse_frequency", "effective_number", "bilateral"] = "shuffle"
    per_class: int = 4
    beta: float = 0.9999
    extra_batches: int = 0
    horizon: int | None = None


@dataclass
class StageConfig:
    """One stage of training.

    Args:
        loss: what is minimised.
        optimizer: how the weights are moved.
        schedule: how the learning rate changes.
        sampler: which samples an epoch visits.
        mix: whether images are mixed in pairs.
        reweight_from: 0-based epoch from which the loss weighs the classes by their effective numbers of
            samples ("deferred re-weighting", DRW); null for never.
        reweight_beta: beta of those numbers.
        epochs: passes over the training data.
        batch_size: samples a step.
        drop_last: leave out the last, incomplete batch of an epoch.
        augment: use the data set's training augmentation.
        clip: largest norm of the gradient, over all parameters; null for no limit.
        validate_every: epochs from one validation to the next; a loss that learns from validation, such as
            "cals", gets one every epoch.
        select: which weights are kept: those of the "best" accuracy on validation, or mIoU of label maps (the
            first of equals); those of the "last" epoch; or, as some published code does, those of the best on
            test, "test_best": results and tables then say so. Null for "best" where anything validates, and
            else "last".

    Attributes:
        key: the name of the stage in a recipe.
    """

    key: ClassVar[str] = "train"

    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    reweight_from: int | None = None
    reweight_beta: float = 0.9999
    epochs: int = 100
    batch_size: int = 128
    drop_last: bool = False
    augment: bool = True
    clip: float | None = None
    validate_every: int = 1
    select: Literal["last", "best", "test_best"] | None = None


@dataclass
class DecoupleConfig(StageConfig):
    """The second of two stages: the features stay, the classifier is trained anew or goes on.

    Args:
        method: "none", no second stage; "crt", a fresh linear classifier; "lws", a learned scale of each class
            on the fixed classifier; "mislas", that scale, and the classifier with it at `lr_factor` times the
            rate; "tau_norm", the rows of the classifier divided by their lengths to the power `tau`, without
            any training.
        from_run: folder of a run whose first stage serves; null to train the first stage in this run.
            `--decouple.from` on the command line, `from` in a file.
        shift_bn: let the running statistics of batch norm go on moving on the images of this stage; its scale
            and offset stay.
        lr_factor: the classifier's rate over that of its scale.
        decay: what weight decay pulls to 0: "sum", the whole classifier, as published, or "delta", what this
            stage adds to the first stage's.
        tau: of "tau_norm".
        keep_bias: of "tau_norm": keep the classifier's bias, which the publication leaves out.
    """

    key: ClassVar[str] = "decouple"

    loss: LossConfig = field(default_factory=LossConfig)
    schedule: ScheduleConfig = field(default_factory=lambda: ScheduleConfig("cosine"))
    sampler: SamplerConfig = field(default_factory=lambda: SamplerConfig("class_balanced"))
    epochs: int = 10
    method: Literal["none", "crt", "lws", "mislas", "tau_norm"] = "none"
    from_run: str | None = None
    shift_bn: bool = False
    lr_factor: float = 1.0
    decay: Literal["sum", "delta"] = "sum"
    tau: float = 1.0
    keep_bias: bool = False


@dataclass
class TrainerConfig:
    """On what the recipe runs.

    Args:
        accelerator: "auto" takes a GPU where there is one.
        devices: processes that share the training, each with a device of its own; every batch is divided
            between them.
        precision: "bf16-mixed" computes the network in bfloat16; losses and logits stay in float32.
        channels_last: keep images and convolutions in the memory layout that is fast in bfloat16.
        compile: compile the network of the first stage with `torch.compile`: a minute at the start, faster
            steps.
        threads: threads of PyTorch on the CPU; null for PyTorch's own choice.
        checkpoint_every: epochs from one checkpoint to the next.
        eval_batch_size: samples a step in validation and test.
    """

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    channels_last: bool = False
    compile: bool = False
    threads: int | None = None
    checkpoint_every: int = 1
    eval_batch_size: int = 500


@dataclass
class Recipe:
    """An experiment.

    Args:
        name: name of the recipe, from its file.
        data: the data.
        model: the network.
        train: the training stage, or the first of two.
        decouple: the second stage, of the methods that have one.
        posthoc: calibrators that are fitted on validation after training, where there are validation samples.
        trainer: on what it runs.
        seed: seed of the initial weights, of the order of the samples and of everything else that is random.
        losses: the options that each loss takes on these data; a stage's `loss.args` go before them.
            `calibrant compare` runs these losses, in this order, when none are named. A recipe that inherits
            another and lists losses lists all of them.
        seeds: the seeds that `calibrant compare` runs when none are named.
    """

    name: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: StageConfig = field(default_factory=StageConfig)
    decouple: DecoupleConfig = field(default_factory=DecoupleConfig)
    posthoc: list[str] = field(default_factory=lambda: ["temperature"])
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: int = 0
    losses: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])

    @property
    def last_stage(self) -> StageConfig:
        """The stage whose loss a comparison varies."""
        return self.train if self.decouple.method == "none" else self.decouple

    @property
    def epochs(self) -> int:
        """Epochs of all stages that are trained in the run."""
        first = self.train.epochs if self.decouple.from_run is None else 0
        return first + (self.decouple.epochs if self.decouple.method not in ("none", "tau_norm") else 0)

    @property
    def method(self) -> str:
        """What the run is called in a comparison: the loss, with options that the recipe does not give."""
        loss = self.last_stage.loss
        usual = self.losses.get(loss.name, {})
        said = ",".join(f"{key}={value}" for key, value in loss.args.items() if usual.get(key, ...) != value)
        return f"{loss.name}:{said}" if said else loss.name
