"""The README.md of an exported model, made of its record alone: what it is, what it cost, what it scored.

The front matter is that of the Hugging Face Hub (huggingface.co/docs/hub/model-cards).
"""

import math
from typing import Any

import yaml

from ablate.data.controls import KEEPS_AND_CHANGES
from ablate.recipe.interpolation import mapped
from ablate.record import RunRecord, Score, of_whole_task
from ablate.report.tables import Table
from ablate.report.text import markdown_table, markdown_text
from ablate.study.store import run_name
from ablate.study.trained import TrainedRun

CARD_FILE = "README.md"


def model_card(run: TrainedRun, config: dict[str, Any], media: str) -> str:
    """The card as Markdown with YAML front matter; everything from records and recipes is escaped.

    Args:
        config: the `config.json` of the folder.
        media: name of the file with the media parts, `left out`, or `none` where the run has none.
    """
    record, header = run.record, run.header
    parts = [f"# {markdown_text(f'{record.study}: {record.arm}, seed {record.seed}')}"]
    if header is not None:
        parts.append(f"> {markdown_text(header.question)}")
    parts.append(
        "One replicate of one arm of a paired study made with "
        "`ablate`. Its scores mean something beside those of the other arms of the same seed, not alone."
    )
    parts += ["## The run", markdown_table(_run(record)), markdown_text(_meaning(record))]
    parts += ["## The model", markdown_table(_shapes(config, record)), _MEDIA.get(media, _media_file(media))]
    parts += ["## Loading", _loading(config)]
    parts += ["## Budget", markdown_table(_budget(record))]
    parts += ["## Scores", _scores(record)]
    parts += ["## Data", "Digests of what the run read and was scored on.", markdown_table(_data(record))]
    parts += ["## Pairing", _pairing(record)]
    parts += ["## Disclosures", _bullets(record.notes or ["none"])]
    if header is not None and header.note:
        parts.append(markdown_text(header.note))
    parts += ["## Provenance", markdown_table(_provenance(record))]
    # PyYAML quotes what either version of YAML would take for something else than text.
    # On one line, no value can hold the line that ends the front matter.
    values = mapped(_front_matter(record), lambda text: " ".join(text.split()))
    matter = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return f"---\n{matter}---\n\n" + "\n\n".join(part.strip() for part in parts) + "\n"


def _front_matter(record: RunRecord) -> dict[str, Any]:
    tags = ["ablate", f"study:{record.study}", f"arm:{record.arm}", f"seed:{record.seed}"]
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": task, "type": task},
            "metrics": [{"type": metric, "name": name, "value": score.value}],
        }
        for name, score in _overall(record).items()
        for task, _, metric in [name.partition("/")]
        if math.isfinite(score.value)
    ]
    matter: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": tags + ([f"control:{record.control}"] if record.control else []),
    }
    if results:
        matter["model-index"] = [{"name": f"{record.study}/{run_name(record)}", "results": results}]
    return matter


def _overall(record: RunRecord) -> dict[str, Score]:
    """Scores over all items of a task, without those of its subsets and groups."""
    return {name: score for name, score in record.scores.items() if of_whole_task(name)}


def _run(record: RunRecord) -> Table:
    table = Table(["", "value"])
    table.add(["study", record.study])
    table.add(["recipe digest", record.recipe_digest])
    table.add(["arm", record.arm])
    table.add(["control", record.control or "none: not a placebo"])
    if record.mirrors:
        table.add(["placebo of", record.mirrors])
    table.add(["seed", record.seed])
    table.add(["run identity", record.identity])
    return table


def _meaning(record: RunRecord) -> str:
    """What the arm is, in words: its rows, its control, its loss on media."""
    resolved = record.resolved
    streams: dict[str, Any] = resolved.get("streams", {})
    rows = ", ".join(
        f"{count} of {name} ({streams.get(name, {}).get('modality', 'unknown')})"
        for name, count in resolved.get("rows", {}).items()
    )
    words = [f"Rows of a microbatch: {rows}."] if rows else []
    if record.control in KEEPS_AND_CHANGES:
        keeps, changes = KEEPS_AND_CHANGES[record.control]  # type: ignore[index]
        words.append(f"The control {record.control} keeps {keeps}. It changes: {changes}.")
    if resolved.get("media_loss"):
        words.append(f"Weight of the next-patch loss: {resolved['media_loss']:g}.")
    return " ".join(words)


def _shapes(config: dict[str, Any], record: RunRecord) -> Table:
    table = Table(["", "value"])
    for name, key in (
        ("architecture", "model_type"),
        ("layers", "num_hidden_layers"),
        ("width", "hidden_size"),
        ("heads", "num_attention_heads"),
        ("key and value heads", "num_key_value_heads"),
        ("MLP width", "intermediate_size"),
        ("vocabulary", "vocab_size"),
        ("context", "max_position_embeddings"),
        ("tied embeddings", "tie_word_embeddings"),
    ):
        value = config.get(key)
        table.add([name, str(value).lower() if isinstance(value, bool) else value])
    table.add(["parameters of the backbone", f"{record.spent.parameters.get('backbone', 0):,}"])
    started = record.resolved.get("model", {}).get("weights")
    table.add(["initial weights", f"pretrained, digest {started}" if started else "drawn from the seed"])
    return table


_MEDIA = {
    "none": "The run has no encoders: it read text alone.",
    "left out": "Encoders and media heads are left out; the backbone reads text as it stands.",
}


def _media_file(name: str) -> str:
    return f"Encoders and media heads are in `{name}`, which transformers does not read."


def _loading(config: dict[str, Any]) -> str:
    length = config.get("max_position_embeddings")
    return f"""```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```

```sh
lm_eval --model hf --model_args pretrained=FOLDER,dtype=float32,max_length={length} --tasks blimp
ablate generate FOLDER --prompt "Once upon a time"
```

`FOLDER` is the folder of this file. Texts begin with the beginning-of-text token, as in training."""


def _budget(record: RunRecord) -> Table:
    table = Table(["", "planned", "spent"])
    planned, spent = record.planned, record.spent
    table.add(["training FLOPs", f"{planned.total_flops:.4g}", f"{spent.total_flops:.4g}"])
    for name, key in (
        ("steps", "steps"),
        ("positions", "positions"),
        ("text tokens", "text_tokens"),
        ("unique text tokens", "unique_text_tokens"),
        ("caption tokens", "caption_tokens"),
        ("media positions", "media_positions"),
    ):
        table.add([name, f"{getattr(planned, key):,}", f"{getattr(spent, key):,}"])
    table.add(["epochs of text", f"{planned.text_epochs:.3g}", f"{spent.text_epochs:.3g}"])
    table.add(["seconds of training", None, f"{spent.wall_seconds:,.0f}"])
    return table


def _scores(record: RunRecord) -> str:
    if not record.scores:
        return "The run was not scored."
    table = Table(["endpoint", "score", "chance", "items", "better"])
    whole = _overall(record)
    for name, score in whole.items():
        better = "higher" if score.higher_is_better else "lower"
        table.add([name, _number(score.value), _number(score.chance), score.items, better])
    legend = "Scored on text alone, in fp32. Chance is what a model that knows nothing scores."
    if more := len(record.scores) - len(whole):
        legend += f" The record holds {more} more, of subsets and groups of items."
    return f"{legend}\n\n{markdown_table(table)}"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _data(record: RunRecord) -> Table:
    table = Table(["what", "digest"])
    for name, digest in record.data_digests.items():
        table.add([name, digest])
    return table


def _pairing(record: RunRecord) -> str:
    proof = record.pairing.text_rows
    last = max(proof, key=int, default=None)
    columns = len(proof[last]) if last is not None else 0
    rows = f", {columns} of them at step {last}" if last is not None else ""
    return (
        "Runs of one seed share their initial backbone and the order of their text. The initial backbone of "
        f"this run has the digest {markdown_text(record.pairing.backbone_init)}; the record keeps a digest "
        f"of the rows of every column{rows}. The trained backbone has the digest "
        f"{markdown_text(record.final_weights)}."
    )


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines)


def _provenance(record: RunRecord) -> Table:
    origin = record.provenance
    table = Table(["", "value"])
    commit = f"{origin.get('commit', 'unknown')}{', with changes' if origin.get('dirty') else ''}"
    table.add(["commit of ablate", commit])
    table.add(["device", str(origin.get("device", "unknown"))])
    table.add(["started", str(origin.get("started", "unknown"))])
    for name, version in sorted(dict(origin.get("versions", {})).items()):
        if version != "not installed":
            table.add([name, str(version)])
    return table
