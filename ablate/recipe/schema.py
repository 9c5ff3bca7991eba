"""What a recipe may say: one frozen dataclass per block, a sentence under every field.

`ablate.recipe.load` merges YAML, ``base:`` variants and command-line overrides into `Recipe`, checks
it, and reports every error at once. Blocks typed ``dict[str, Any]`` (`StreamConfig.encoder`, the
values of `Recipe.tasks`) are merged in a second pass with the dataclass their ``name`` or ``kind``
selects, so a typo in them is refused as well.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Match = Literal["flops", "text_tokens", "positions"]
Modality = Literal["text", "image", "audio", "video", "sensor"]
Order = Literal["media_first", "text_first", "mixed"]
Documents = Literal["captioned", "interleaved", "media_only"]
StoppingRule = Literal["fixed", "group_sequential", "anytime"]
Spending = Literal["obrien_fleming", "pocock"]
Average = Literal["none", "ema", "last_k"]
Strategy = Literal["ddp", "fsdp"]
Control = Literal["captions_only", "captions_only_refill", "shuffled", "noise", "blank", "repeat_text"]


def without_media(control: Control | None) -> bool:
    """Whether a control encodes no media at all."""
    return control in ("captions_only", "captions_only_refill", "repeat_text")


@dataclass(frozen=True)
class ModelConfig:
    """A Llama-shaped decoder (RMSNorm, rotary positions, SwiGLU, grouped-query attention)."""

    layers: int = 6
    """Transformer blocks."""
    width: int = 384
    """Residual width; a multiple of `heads`."""
    heads: int = 6
    """Query heads."""
    kv_heads: int = 0
    """Key and value heads; a divisor of `heads`. 0 means as many as `heads`."""
    mlp_width: int = 0
    """Hidden width of the SwiGLU block. 0 means 8/3 of `width`, rounded up to a multiple of 64."""
    context_length: int = 256
    """Positions in a row."""
    tied: bool = True
    """Whether the output head shares the embedding's weights."""
    rope_theta: float = 10000.0
    """Base of the rotary frequencies."""
    norm_eps: float = 1e-5
    """Epsilon of every RMSNorm."""
    document_mask: bool = True
    """Whether documents packed into one row are hidden from one another."""
    init_from: str = ""
    """A local Hugging Face folder of a Llama-shaped model whose weights every arm and seed starts from. The
    keys above that shape the model may be left out: the folder gives them, and contradicting it is an error.
    `context_length` stays the recipe's, at most as many positions as the folder states; left out, it is
    its default or what the folder states, whichever is less. The tokenizer is the folder's unless
    `tokenizer.path` is given."""


@dataclass(frozen=True)
class WrittenModel(ModelConfig):
    """A model with `init_from`, as it was written: `ablate.recipe.load` makes it, no recipe names it."""

    stated: tuple[str, ...] = ()
    """Keys that the recipe states; the folder speaks for the others."""


@dataclass(frozen=True)
class RotaryScaling:
    """How rotary frequencies are lowered for longer contexts; see `ablate.model.rotary`."""

    kind: Literal["linear", "llama3"]
    factor: float
    """What frequencies are divided by."""
    low_frequency_factor: float = 1.0
    """`llama3`: wavelengths above `original_positions` over this are scaled in full."""
    high_frequency_factor: float = 4.0
    """`llama3`: wavelengths below `original_positions` over this are left as they are."""
    original_positions: int = 8192
    """`llama3`: positions of the first training."""


@dataclass(frozen=True)
class PretrainedModel(ModelConfig):
    """A model with the shapes of its `init_from` folder: `ablate.materials` makes it, no recipe names it."""

    vocabulary: int = 0
    """Rows of the embedding; at least the ids of the tokenizer."""
    scaling: RotaryScaling | None = None
    weights: str = ""
    """Digest of the folder's weights, by content."""


@dataclass(frozen=True)
class TokenizerConfig:
    """The study's one tokenizer."""

    vocabulary: int = 8192
    """Size of the byte-level BPE trained on the training text and captions of all arms."""
    path: str = ""
    """A `tokenizer.json` to use instead; `vocabulary` is then read from it."""


@dataclass(frozen=True)
class StreamConfig:
    """A source of samples."""

    modality: Modality
    """What the stream holds: `text`, or media paired with text."""
    paths: list[str]
    """Files or globs; `${data_root}` is replaced."""
    text_field: str = "text"
    """Key of the text in JSON Lines and Parquet."""
    captions_field: str = "captions"
    """Key of KEY.json that lists all captions of a sample; without it KEY.txt is the only one."""
    part: str = "1/1"
    """`k/n` keeps the k-th of n disjoint, exchangeable parts (documents split by content digest)."""
    max_tokens: int = 0
    """Text streams: whole documents of the part, in the order of their content digests, up to so many tokens;
    0 keeps all. A smaller cap keeps a subset of what a larger one keeps. The tokenizer and the count of
    overlap with test items see the stream before it is capped."""
    encoder: dict[str, Any] = field(default_factory=dict)
    """Media streams: `name` of a registered encoder, and its own settings."""
    also: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further modalities of the same samples, each with an encoder: `audio: {name: ...}` of a video."""
    documents: Documents = "captioned"
    """Media streams: one caption a visit, texts and images in the order that KEY.json lists them, or media
    without text, which train by `media_loss` alone."""
    order: Order = "mixed"
    """Media streams: which comes first in a document, or a fair coin per (seed, epoch, sample)."""
    items_per_row: int = 0
    """Media streams: most items of a modality in a row. 0 means as many as the median text lets fit."""
    max_skips: int = 0
    """Samples that may fail to decode before the run stops; every skip is counted in the record."""


@dataclass(frozen=True)
class ArmConfig:
    """One treatment."""

    mixture: dict[str, float]
    """Share of each step's rows per stream; adds up to 1."""
    controls: list[Control] = field(default_factory=list)
    """Placebo arms to build from this one."""
    media_loss: float = 0.0
    """Weight of the next-patch regression; 0 trains on text alone, with identical parameters."""
    train: dict[str, Any] = field(default_factory=dict)
    """Settings of `train` that this arm and its controls have otherwise, of those in `ARM_SETTINGS`."""


@dataclass(frozen=True)
class BudgetConfig:
    """What is held equal, and how much of it. Exactly one of the amounts is given."""

    match: Match = "flops"
    """`flops` and `positions` substitute rows; `text_tokens` adds media rows to all text rows."""
    steps: int = 0
    """Amount: what the baseline arm spends in this many steps."""
    flops: float = 0.0
    """Amount: training FLOPs of one run."""
    text_tokens: float = 0.0
    """Amount: text positions of the baseline arm."""
    encoder_cost: Literal["each_visit", "once"] = "each_visit"
    """Charge of a frozen encoder whose features are cached: as if computed at every visit, or one pass."""


@dataclass(frozen=True)
class TrainConfig:
    """How every arm is trained. The schedule is a function of step / steps."""

    rows: int = 32
    """Rows of the global batch (R); `text_tokens` adds media rows to these."""
    microbatch_rows: int = 0
    """Rows a device holds at a time; a divisor of `rows`. 0 means `rows`."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    final_learning_rate: float = 0.0
    """Learning rate at the end, as a share of the peak."""
    warmup: float = 0.05
    """Share of the steps with linearly rising learning rate."""
    schedule: Literal["cosine", "wsd"] = "cosine"
    """Decay: a cosine after the warm-up, or warm-up, stable, linear decay."""
    decay: float = 0.2
    """`wsd`: share of the steps that decay."""
    weight_decay: float = 0.1
    """AdamW's decoupled decay, on matrices only."""
    beta1: float = 0.9
    """AdamW."""
    beta2: float = 0.95
    """AdamW."""
    clip: float = 1.0
    """Largest gradient norm, of backbone and encoders apart. 0 switches clipping off."""
    average: Average = "none"
    """Weights that are scored and saved: the last ones, or an average over the end of the run, of backbone
    and encoders alike: exponential (`ema`) or the mean of equally spaced weights (`last_k`). It costs a copy
    of the weights in memory and no FLOPs worth counting."""
    average_from: float = 0.8
    """Share of the steps after which weights enter the average."""
    average_half_life: float = 0.05
    """`ema`: share of the steps over which the weight of a step in the average halves."""
    average_checkpoints: int = 10
    """`last_k`: how many are averaged, at equal distances, the last weights among them."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 on GPU, fp32 on CPU."""
    compile: Literal["auto", "always", "never"] = "auto"
    """torch.compile; `auto`: on GPU."""
    checkpoint_every: float = 300.0
    """Seconds between checkpoints of a running run."""
    log_every: int = 10
    """Steps between points of the loss curve and of the loggers."""
    loggers: list[Literal["csv", "tensorboard"]] = field(default_factory=list)
    """Lightning loggers to write beside the record."""
    data_workers: int = 0
    """Processes that prepare batches; the rows do not depend on it."""
    devices: int = 1
    """Devices of a node that train one run together, each a whole number of its microbatches; the rows of the
    global batch do not depend on it."""
    nodes: int = 1
    """Nodes that train one run together; the command is started once on each."""
    strategy: Strategy = "ddp"
    """Where a run has several devices: a copy of the model on each, or (on GPUs) its weights, gradients and
    optimiser sharded over them (`fsdp`)."""


ARM_SETTINGS = (
    *("learning_rate", "final_learning_rate", "warmup", "schedule", "decay"),
    *("weight_decay", "beta1", "beta2", "clip"),
)
"""Fields of `TrainConfig` in which arms may differ, and that `tune` may vary: they leave rows, pairing and
cost as they are."""


@dataclass(frozen=True)
class TuneConfig:
    """Tuning with equal effort: every arm that is no control is trained at every point of one grid, on seeds
    that serve nothing else; the arm and its controls train with the best point by a development endpoint."""

    grid: dict[str, Any] = field(default_factory=dict)
    """Setting of `train` to the values to try, of those in `ARM_SETTINGS`; all combinations are points.
    Empty: nothing is tuned."""
    seeds: list[int] = field(default_factory=list)
    """Replicates of every trial; none of them among the study's `seeds`."""
    endpoint: str = ""
    """The development endpoint, `task/metric`: its task has no item of a confirmatory endpoint."""
    budget_share: float = 1.0
    """Share of the budget that a trial gets."""


@dataclass(frozen=True)
class PlantedConfig:
    """The embedded planted world, used where `data_root` is `planted`."""

    world_seed: int = 0
    """Draws names, attributes and wording."""
    modalities: list[Literal["image", "audio", "video", "sensor"]] = field(default_factory=lambda: ["image"])
    """Kinds of media. Each shows every entity, and one attribute of it that no other medium shows."""
    entities: int = 512
    """Named things, each with one value per attribute."""
    held_out: int = 256
    """Entities whose attributes appear in no text: only media show them, those of every modality."""
    image_size: int = 32
    """Pixels per side of a rendered picture."""
    images_per_entity: int = 2
    """Items of each entity in each modality that shows it, different in noise, place, scale and the like."""
    documents: int = 6000
    """Text documents: facts about the entities that are not held out, among ordinary prose."""
    captions_per_image: int = 8
    """Captions of each item: some name the entity, some state an attribute, none does both."""


@dataclass(frozen=True)
class EndpointsConfig:
    """What the verdict is about; stated before the run. An endpoint is `task/metric`."""

    primary: str
    """The endpoint the study is judged by."""
    margins: dict[str, float]
    """Smallest effect of interest per confirmatory endpoint, in the endpoint's own unit."""
    differences: dict[str, list[str]] = field(default_factory=dict)
    """Name to two endpoints: `difference/<name>` is an endpoint too, the first less the second, so that its
    contrast between two arms is the difference in differences."""
    screen: str = ""
    """The `screen.json` that `ablate screen` wrote for this recipe: endpoints that did not pass it confirm
    nothing, whatever margin they have."""
    covariate: str = ""
    """A control variate of the paired differences that no arm can move: `score`, the baseline's own score on
    the endpoint, or `loss@0.1`, the baseline's training loss at a share of its steps. Its mean has to come
    from more seeds than the pairs: `baseline_seeds`."""
    covariate_slope: float | None = None
    """Change of the gain per unit of the covariate, fixed beforehand, for instance from an A/A study; left
    out, the study's own pairs estimate it, which costs a degree of freedom."""
    baseline_seeds: list[int] = field(default_factory=list)
    """Further seeds on which the baseline alone is trained, or was: they tell the covariate's mean."""


@dataclass(frozen=True)
class StoppingConfig:
    """When a study may stop before its last seed (`ablate run --until-decided`); stated before the run."""

    rule: StoppingRule = "fixed"
    """`fixed`: all seeds, one look. `group_sequential`: few looks, alpha spent over them. `anytime`: a
    confidence sequence, valid however often it is looked at."""
    looks: list[int] = field(default_factory=list)
    """Numbers of seeds at which the verdict is looked at, rising to the number of `seeds`. `anytime` looks
    at every number from 2 on where none are given."""
    spending: Spending = "obrien_fleming"
    """`group_sequential`: how the error is spent over the looks (Lan and DeMets 1983): little early, or
    about the same at every look (`pocock`)."""


@dataclass(frozen=True)
class DecontaminationConfig:
    """Words that training text shares with test items (`ablate.data.overlap`)."""

    count: bool = True
    """Whether overlap is looked for; what is found stands in every record and under the table."""
    ngram: int = 13
    """Words in a row that make an overlap (GPT-3: 13, Brown et al. 2020, appendix C; PaLM: 8)."""
    shortest: int = 5
    """An item with fewer than `ngram` words overlaps if all of it occurs in a row; one with fewer than this
    many is counted as too short to tell."""
    remove: bool = False
    """Whether documents and captions that overlap are taken out of the training data, in every arm alike."""


@dataclass(frozen=True)
class Recipe:
    """A study, fully determined."""

    study: str
    """Name of the study and of its folder under results/."""
    question: str
    """The question in one sentence, printed above the verdict."""
    seeds: list[int]
    """Replicates; the same seed in two arms makes a pair."""
    streams: dict[str, StreamConfig]
    arms: dict[str, ArmConfig]
    baseline: str
    """The arm that every other is contrasted with."""
    endpoints: EndpointsConfig
    tasks: dict[str, dict[str, Any]]
    """Task name to its `kind` (see `ablate list tasks`) and settings."""
    budget: BudgetConfig
    data_root: str = "planted"
    """Folder that `${data_root}` stands for; `planted` generates the planted world in the cache."""
    planted: PlantedConfig = field(default_factory=PlantedConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    stopping: StoppingConfig = field(default_factory=StoppingConfig)
    decontamination: DecontaminationConfig = field(default_factory=DecontaminationConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    note: str = ""
    """Printed under the table, for instance what the study cannot show at its size."""
    ladder: list[float] = field(default_factory=list)
    """Shares of its budget at which the baseline is trained again, as `<baseline>.x<share>`: they give the
    slope of an endpoint in text tokens, by which effects are expressed as fresh text."""


@dataclass(frozen=True)
class TunedRecipe(Recipe):
    """A recipe whose arms were tuned: `ablate.study.tuning` makes it, no recipe names it."""

    picks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arm to the settings of `train` that were picked for it and its controls."""


@dataclass(frozen=True)
class Arm:
    """One treatment after controls are expanded; a control is named `<arm>.<control>`."""

    name: str
    mixture: dict[str, float]
    media_loss: float = 0.0
    control: Control | None = None
    mirrors: str | None = None
    """The arm a control was built from; it inherits that arm's steps and schedule."""
    budget_share: float = 1.0
    """Share of the baseline's budget; other than 1 in a rung of the `ladder` alone."""
    train: dict[str, Any] = field(default_factory=dict)
    """Settings of `train` that the arm has otherwise; see `ablate.recipe.arms.arm_train`."""
