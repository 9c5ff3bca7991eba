"""PIQA (Bisk et al. 2020): which of two solutions reaches the goal?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablate.tasks.benchmarks.gold import gold_index
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choices import ChoiceConfig, ChoiceTask
from ablate.tasks.errors import TaskError
from ablate.tasks.json_lines import Line

MAX_LABEL_BYTES = 16 << 20
"""Most bytes of a file of labels."""


@dataclass(frozen=True)
class PiqaConfig(ChoiceConfig):
    """PIQA's rows, with their labels or without."""

    labels: str = ""
    """File of the labels of `paths`, one a line, such as the source's valid-labels.lst. Empty: each row has a
    `label`."""
    shot_labels: str = ""
    """The same for `shot_paths`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shots and bool(self.labels) != bool(self.shot_labels):
            raise TaskError("labels and shot_labels go together where there are shots; give both or neither")


class Piqa(ChoiceTask):
    """Which of two solutions is the likelier?"""

    Config = PiqaConfig
    kind = "piqa"
    version = 1
    added = re.compile(r"^Question: |\nAnswer:$")
    prompt = r'"Question: {goal}\nAnswer:" + " {sol1}" or " {sol2}"'
    source = "yonatanbisk.com/piqa, or baber/piqa on the Hub; the validation split"
    file_settings = (*ChoiceTask.file_settings, "labels", "shot_labels")

    def item(self, line: Line) -> ChoiceItem:
        context = f"Question: {line.filled('goal')}\nAnswer:"
        solutions = [line.filled("sol1"), line.filled("sol2")]
        return ChoiceItem(
            id=line.identifier(""),
            where=line.where,
            choices=tuple(Choice(context, f" {solution}", solution) for solution in solutions),
            label=self._label(line),
        )

    def _label(self, line: Line) -> int:
        if not self.config.labels:
            return gold_index(line, "label", 2)
        if "label" in line.row:
            raise TaskError(f"{line.where}: has a label, and so has {self.config.labels}; leave out one")
        return 0  # `read` sets it

    def read(self, paths: Sequence[str], cache: Path) -> list[ChoiceItem]:
        """All items of ``paths``.

        Raises:
            TaskError: as `ChoiceTask.read`; or labels that lie apart are not as many as the rows of one file.
        """
        items = super().read(paths, cache)
        config: PiqaConfig = self.config
        if not config.labels:
            return items
        labels = Path(config.labels if list(paths) == list(config.paths) else config.shot_labels)
        files = {item.where.rpartition(":")[0] for item in items}
        if len(files) > 1:
            raise TaskError(
                f"{labels}: labels of one file, and there are {len(files)}: {', '.join(sorted(files))}"
            )
        found = read_labels(labels)
        if len(found) != len(items):
            raise TaskError(f"{labels}: {len(found)} labels for {len(items)} rows of {files.pop()}")
        return [replace(item, label=label) for item, label in zip(items, found, strict=True)]


def read_labels(path: Path) -> list[int]:
    """Labels, 0 or 1, of a file with one a line.

    Raises:
        TaskError: it cannot be read, or a line is neither.
    """
    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise TaskError(f"{path}: larger than {MAX_LABEL_BYTES >> 20} MiB; labels are one digit a line")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path}: cannot be read as labels ({error})") from error
    for number, line in enumerate(lines, 1):
        if line.strip() not in ("0", "1"):
            raise TaskError(f"{path}:{number}: {line!r:.60} is neither 0 nor 1")
    return [int(line) for line in lines]
