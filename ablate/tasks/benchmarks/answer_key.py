"""Questions whose choices are lettered and whose answer is a letter: ARC, OpenBookQA, CommonsenseQA.

Both forms are read: the original, where `question` holds `stem` and a list of `choices`, and the Hub's, where
the question is text and `choices` holds the lists `text` and `label`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ablate.tasks.benchmarks.gold import gold_key
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choices import ChoiceTask
from ablate.tasks.errors import TaskError
from ablate.tasks.json_lines import Line

LETTERS = ("A", "B", "C", "D", "E")


@dataclass(frozen=True)
class Question:
    """One question in either form."""

    stem: str
    texts: tuple[str, ...]
    label: int
    concept: str
    """What the question was written about, where the source says so."""


def read_question(line: Line, stem_field: str) -> Question:
    """The question of a line.

    Args:
        stem_field: key of the question's text in the Hub's form.

    Raises:
        TaskError: a field is missing or of another form, or the answer is none of the choices.
    """
    nested = line.row.get("question")
    if isinstance(nested, dict):
        where = Line(line.path, line.file, line.number, nested)
        stem, found, held = where.filled("stem"), where.value("choices"), where
    else:
        stem, found, held = line.filled(stem_field), line.value("choices"), line
    texts, keys = _choices(line, found)
    concept = held.text("question_concept") if "question_concept" in held.row else ""
    return Question(stem, tuple(texts), gold_key(line, "answerKey", keys), concept)


def _choices(line: Line, found: Any) -> tuple[list[str], list[str]]:
    """Texts and letters of the choices."""
    if isinstance(found, dict):
        columns = [found.get("text"), found.get("label")]
    elif isinstance(found, list) and all(isinstance(one, dict) for one in found):
        columns = [[one.get(name) for one in found] for name in ("text", "label")]
    else:
        columns = [None, None]
    texts, keys = columns
    if not isinstance(texts, list) or not isinstance(keys, list) or len(texts) != len(keys):
        raise TaskError(
            f"{line.where}: choices is {found!r:.60}; expected lists `text` and `label` of one length, or a "
            "list of objects with both"
        )
    return [line.as_text(text, "choices: text") for text in texts], [
        line.as_text(key, "choices: label") for key in keys
    ]


class AnswerKeyTask(ChoiceTask):
    """Base of the tasks whose prompt ends before the choice's text."""

    stem_field = "question"

    def context(self, question: Question) -> str:
        """What stands before the choice."""
        return f"Question: {question.stem}\nAnswer:"

    def item(self, line: Line) -> ChoiceItem:
        question = read_question(line, self.stem_field)
        context = self.context(question)
        return ChoiceItem(
            id=line.identifier("id" if "id" in line.row else ""),
            where=line.where,
            choices=tuple(Choice(context, f" {text}", text) for text in question.texts),
            label=question.label,
        )


class Arc(AnswerKeyTask):
    """ARC, Easy or Challenge (Clark et al. 2018): which answer to a science question is the likeliest?"""

    kind = "arc"
    version = 1
    added = re.compile(r"^Question: |\nAnswer:$")
    prompt = r'"Question: {question}\nAnswer:" + " {choice}"'
    source = "allenai.org/data/arc, or allenai/ai2_arc (ARC-Easy, ARC-Challenge) on the Hub"


class OpenBookQA(AnswerKeyTask):
    """OpenBookQA (Mihaylov et al. 2018), without its book."""

    kind = "openbookqa"
    version = 1
    prompt = '"{question_stem}" + " {choice}"'
    source = "allenai.org/data/open-book-qa, or allenai/openbookqa (main) on the Hub"
    stem_field = "question_stem"

    def context(self, question: Question) -> str:
        return question.stem


class CommonsenseQA(ChoiceTask):
    """CommonsenseQA (Talmor et al. 2019): which letter? The choices stand in the question."""

    kind = "commonsense_qa"
    version = 1
    added = re.compile(r"^Question: |\n[A-E]\. |\nAnswer:$")
    prompt = r'"Question: {question}\nA. {A}\nB. {B}\nC. {C}\nD. {D}\nE. {E}\nAnswer:" + " {letter}"'
    clusters = "concept asked about (question_concept)"
    source = "tau-nlp.org/commonsenseqa, or tau/commonsense_qa on the Hub; the validation split"

    def item(self, line: Line) -> ChoiceItem:
        question = read_question(line, "question")
        if len(question.texts) != len(LETTERS) or not all(text.strip() for text in question.texts):
            raise TaskError(
                f"{line.where}: {len(question.texts)} choices, or an empty one; a question has five, "
                f"{', '.join(LETTERS)}"
            )
        listed = [f"{letter}. {text}" for letter, text in zip(LETTERS, question.texts, strict=True)]
        context = "\n".join([f"Question: {question.stem.strip()}", *listed, "Answer:"])
        return ChoiceItem(
            id=line.identifier("id" if "id" in line.row else ""),
            where=line.where,
            choices=tuple(Choice(context, f" {letter}", letter) for letter in LETTERS),
            label=question.label,
            cluster=question.concept,
        )

    def texts(self) -> Iterator[tuple[str, str]]:
        """As `ChoiceTask.texts`, and the question with each choice alone."""
        yield from super().texts()
        for item in self.items:
            _, stem, *parts = self.added.split(item.right.context)
            for text in parts[-1 - len(LETTERS) : -1]:
                yield f"{self.name}/{item.id}", f"{stem} {text}"
