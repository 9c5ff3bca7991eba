"""Bits per byte of held-out text: the one loss that tokenizers cannot flatter.

A document's tokens are read in windows of ``context_length`` positions that begin with BOS, as training rows
do, and start every half window. A token is scored in the first window that reaches it, so each is scored
once, with all that stands before it in that window: at least half a window, or the document's beginning.
EOS is not scored: it has no bytes.

With word lists, the same bits are also told apart by the words they are spent on: `bits_per_byte.<list>` is
the bits of the bytes that belong to the list's words, over these bytes, and `bits_per_byte.other` that of the
words in no list. Which bytes those are, and how a token's bits are spread, `ablate.tasks.words` says.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import fsum
from pathlib import Path

import pandas as pd

from ablate.record import Score
from ablate.tasks.base import (
    ITEM_COLUMNS,
    LogitModel,
    MetricInfo,
    Task,
    TaskResult,
    Tokenizer,
    check_limits,
    check_subset,
    digest_of,
    endpoint_name,
    endpoint_names,
    evenly_spaced,
    ratio_scores,
    subset_members,
)
from ablate.tasks.errors import TaskError
from ablate.tasks.likelihood import Request, in_order, token_log_likelihoods
from ablate.tasks.words import (
    OTHER,
    TokenBytes,
    bits_by_class,
    check_words,
    digest_settings,
    missing_words,
    read_word_lists,
)

WHOLE = "1/1"
"""All documents."""


@dataclass(frozen=True)
class BitsPerByteConfig:
    """Held-out documents."""

    paths: list[str]
    """Files or globs of held-out text: JSON Lines, Parquet, plain text or tar."""
    text_field: str = "text"
    """Key of the text in JSON Lines and Parquet."""
    part: str = WHOLE
    """`k/n` keeps the k-th of n disjoint, exchangeable parts (documents split by content digest), as of a
    text stream: one to develop on, another for the verdict. The limits below come after it."""
    max_documents: int = 0
    """Documents to keep per domain, evenly spaced. 0 keeps all."""
    max_bytes: int = 0
    """Most UTF-8 bytes to keep per domain, in whole, evenly spaced documents. 0 keeps all."""
    words: dict[str, str] = field(default_factory=dict)
    """Name to a list of words that is also scored apart, as `bits_per_byte.<name>`: a file with one word a
    line, or `builtin:function`."""

    def __post_init__(self) -> None:
        check_limits(max_documents=self.max_documents, max_bytes=self.max_bytes)
        check_words(self.words)


@dataclass(frozen=True)
class HeldOutDocument:
    """One item."""

    id: str
    domain: str
    text: str
    bytes: int
    """Length of `text` in UTF-8."""


class BitsPerByte(Task):
    """How many bits does the model need per byte of held-out text?"""

    Config = BitsPerByteConfig
    kind = "bits_per_byte"
    version = 1
    prompt = '"" + "{text}", in windows of the context length at half stride'
    source = "files of one's own, held out of training"
    chance_level = "log2(vocabulary) bits a token"
    metrics = {  # noqa: RUF012
        "bits_per_byte": MetricInfo(
            False, "bits per UTF-8 byte", "negative log2-likelihood of all documents over their bytes"
        ),
    }
    word_groups = (OTHER,)
    """Endpoints `metric.<group>` beside those of the lists themselves."""

    def __init__(self, name: str, config: BitsPerByteConfig, cache: Path) -> None:
        self.name = name
        self.config = config
        self.lists = read_word_lists(name, config.words)
        self.documents = _read_documents(name, config, cache)
        self._class_bytes = self._count_classes()
        # What a model that knows nothing needs depends on the tokenizer; see `score`.
        self.chance = {}

    def texts(self) -> Iterator[tuple[str, str]]:
        """(label, text) of every document that is scored."""
        for document in self.documents:
            yield f"{self.name}/{document.id}", document.text

    @property
    def digest(self) -> str:
        documents = sorted([document.domain, document.text] for document in self.documents)
        settings = digest_settings(asdict(self.config), self.lists)
        del settings["paths"]
        if settings["part"] == WHOLE:
            del settings["part"]  # such a task is what it was before there were parts
        return digest_of([self.kind, self.version, settings, documents])

    def endpoints(self) -> list[str]:
        domains = [document.domain for document in self.documents]
        return [*endpoint_names(self.name, self.metrics, domains), *self._word_members()]

    def check(self, tokenizer: Tokenizer, context_length: int) -> None:
        """Refuse a tokenizer whose tokens words cannot be found in; see `Task.check`. A document longer than
        the context is no fault."""
        if self.lists is not None:
            counts = TokenBytes(tokenizer)
            encoded = tokenizer.encode([document.text for document in self.documents])
            for document, tokens in zip(self.documents, encoded, strict=True):
                counts.runs(document.text, tokens, f"{self.name}: document {document.id}")

    def _count_classes(self) -> list[list[int]]:
        """Bytes of every document in each class of words; empty without lists.

        Raises:
            TaskError: a list has no word in any document.
        """
        if self.lists is None:
            return []
        counts = [self.lists.class_bytes(document.text) for document in self.documents]
        for place, name in enumerate(self.lists.names):
            if not any(own[place] for own in counts):
                raise TaskError(missing_words(self.name, name, "document"))
        return counts

    def _word_members(self) -> dict[str, tuple[int, list[int]]]:
        """Endpoint of each class of words, over all documents and each domain, to the class's place and the
        documents that hold such words; where none does, there is no endpoint."""
        found = {}
        if self.lists is not None:
            members = subset_members([document.domain for document in self.documents])
            for place, name in enumerate(self.lists.classes):
                for domain, chosen in members.items():
                    if holding := [index for index in chosen if self._class_bytes[index][place]]:
                        endpoint = endpoint_name(self.name, f"bits_per_byte.{name}", domain)
                        found[endpoint] = (place, holding)
        return found

    def score(self, model: LogitModel, tokenizer: Tokenizer, batch_rows: int) -> TaskResult:
        """Score every document; see `Task.score`.

        The chance level of a score is that of a model with constant logits: log2(vocabulary) bits a token.
        """
        encoded = tokenizer.encode([document.text for document in self.documents])
        requests: list[Request] = []
        owner: list[int] = []
        for index, (document, tokens) in enumerate(zip(self.documents, encoded, strict=True)):
            if not tokens:
                raise TaskError(f"{self.name}: document {document.id} has no tokens under this tokenizer")
            found = windows(tokens, tokenizer.bos, model.context_length, document.id)
            requests += found
            owner += [index] * len(found)
        by_token = token_log_likelihoods(model, requests, tokenizer.pad, batch_rows)
        nats: list[list[float]] = [[] for _ in self.documents]
        for index, values in zip(owner, by_token, strict=True):
            nats[index].append(-in_order(values))
        bits = [fsum(parts) / math.log(2) for parts in nats]
        uniform = [len(tokens) * math.log2(model.vocabulary) for tokens in encoded]
        scores, frame = self._scores(bits, uniform), self._frame(bits)
        if self.lists is None:
            return TaskResult(scores, frame)
        token_bits: list[list[float]] = [[] for _ in self.documents]
        for index, values in zip(owner, by_token, strict=True):
            token_bits[index] += [-value / math.log(2) for value in values]
        level = [[math.log2(model.vocabulary)] * len(tokens) for tokens in encoded]
        counts = TokenBytes(tokenizer)
        runs = [
            counts.runs(document.text, tokens, f"{self.name}: document {document.id}")
            for document, tokens in zip(self.documents, encoded, strict=True)
        ]
        paid = self._bits_of_words(runs, token_bits)
        word_scores = self._word_scores(paid, self._bits_of_words(runs, level))
        return TaskResult(
            scores | word_scores,
            pd.concat([frame, self._word_frame(paid)], ignore_index=True),
            [self._shares_of_words()],
        )

    def _bits_of_words(
        self, runs: Sequence[Sequence[tuple[int, int]]], bits: Sequence[Sequence[float]]
    ) -> list[list[float]]:
        """Bits of every document in each class of words, given its runs and the bits of its tokens."""
        assert self.lists is not None
        count = len(self.lists.classes) + 1
        return [
            bits_by_class(self.lists.byte_classes(document.text), own, values, count)
            for document, own, values in zip(self.documents, runs, bits, strict=True)
        ]

    def _word_scores(
        self, paid: Sequence[Sequence[float]], uniform: Sequence[Sequence[float]]
    ) -> dict[str, Score]:
        """Total bits over total bytes of each class of words."""
        scores = {}
        for endpoint, (place, chosen) in self._word_members().items():
            total = sum(self._class_bytes[index][place] for index in chosen)
            scores[endpoint] = Score(
                value=fsum(paid[index][place] for index in chosen) / total,
                items=len(chosen),
                higher_is_better=False,
                chance=fsum(uniform[index][place] for index in chosen) / total,
            )
        return scores

    def _word_frame(self, paid: Sequence[Sequence[float]]) -> pd.DataFrame:
        """`bits.<class>` and `bytes.<class>` of every document that holds such words: a ratio without bytes
        has no place among items that are resampled."""
        assert self.lists is not None
        rows = []
        for document, bits, sizes in zip(self.documents, paid, self._class_bytes, strict=True):
            for name, value, size in zip(self.lists.classes, bits, sizes, strict=True):
                if size:
                    rows.append((self.name, document.domain, document.id, f"bits.{name}", value))
                    rows.append((self.name, document.domain, document.id, f"bytes.{name}", float(size)))
        return pd.DataFrame(rows, columns=ITEM_COLUMNS)

    def _shares_of_words(self) -> str:
        """Discloses how much of the text each class of words is."""
        assert self.lists is not None
        total = sum(document.bytes for document in self.documents)
        held = [sum(column) / total for column in zip(*self._class_bytes, strict=True)]
        shares = ", ".join(
            f"{name} {share:.1%}" for name, share in zip(self.lists.classes, held, strict=True)
        )
        return f"{self.name}: share of the bytes by word list: {shares}, no word {1 - fsum(held):.1%}"

    def _scores(self, bits: Sequence[float], uniform: Sequence[float]) -> dict[str, Score]:
        """Total bits over total bytes, of all documents and of each domain."""
        domains = [document.domain for document in self.documents]
        ids = [document.id for document in self.documents]
        sizes = [float(document.bytes) for document in self.documents]
        return ratio_scores(self.name, "bits_per_byte", domains, ids, bits, sizes, uniform)[0]

    def _frame(self, bits: Sequence[float]) -> pd.DataFrame:
        rows = []
        for document, value in zip(self.documents, bits, strict=True):
            for metric, number in (
                ("bits", value),
                ("bytes", float(document.bytes)),
                ("bits_per_byte", value / document.bytes),
            ):
                rows.append((self.name, document.domain, document.id, metric, number))
        return pd.DataFrame(rows, columns=ITEM_COLUMNS)


def windows(tokens: Sequence[int], bos: int, context_length: int, source: str = "") -> list[Request]:
    """Requests that score each of ``tokens`` once.

    Window k reads BOS and the tokens from k * stride on, with stride half of ``context_length``, and scores
    those up to k * stride + context_length that no earlier window has scored.
    """
    stride = max(1, context_length // 2)
    found = []
    start = scored = 0
    while scored < len(tokens):
        stop = min(start + context_length, len(tokens))
        found.append(Request([bos, *tokens[start:scored]], list(tokens[scored:stop]), source))
        start, scored = start + stride, stop
    return found


def _read_documents(name: str, config: BitsPerByteConfig, cache: Path) -> list[HeldOutDocument]:
    """The documents that the limits keep, domain after domain."""
    from ablate.data.content import expand_paths
    from ablate.data.documents import document_digest, read_documents
    from ablate.data.errors import DataError
    from ablate.data.token_file import parse_part

    domains: dict[str, list[HeldOutDocument]] = {}
    repeats: dict[str, int] = {}
    try:
        which, parts = parse_part(config.part)
        for found in read_documents(expand_paths(config.paths), config.text_field, cache):
            place = f"{found.source}:{found.number}"
            check_subset(found.domain, place)
            # Shards in two folders may have one name.
            repeats[place] = repeats.get(place, 0) + 1
            unique = place if repeats[place] == 1 else f"{place}#{repeats[place]}"
            document = HeldOutDocument(unique, found.domain, found.text, len(found.text.encode("utf-8")))
            if not document.bytes:
                raise TaskError(f"task {name!r}: {place}: the text is empty; remove it")
            if document_digest(found.text) % parts == which - 1:
                domains.setdefault(found.domain, []).append(document)
    except DataError as error:
        raise TaskError(f"task {name!r}: {error}") from error
    if not domains:
        found_in = ", ".join(config.paths) or "paths is empty"
        found_in += f", part {config.part}" if parts > 1 else ""
        raise TaskError(f"task {name!r} has no items: {found_in}; add items or leave the task out")
    return [document for domain in sorted(domains) for document in _limited(name, domains[domain], config)]


def _limited(name: str, documents: list[HeldOutDocument], config: BitsPerByteConfig) -> list[HeldOutDocument]:
    """Evenly spaced documents of one domain, as many as both limits allow."""
    wanted = min(config.max_documents or len(documents), len(documents))
    total = sum(document.bytes for document in documents)
    if config.max_bytes and total > config.max_bytes:
        # Near the largest number that fits on average; the loop below makes sure it does.
        wanted = min(wanted, max(1, len(documents) * config.max_bytes // total))
    while wanted:
        kept = [documents[index] for index in evenly_spaced(len(documents), wanted)]
        if not config.max_bytes or sum(document.bytes for document in kept) <= config.max_bytes:
            return kept
        wanted -= 1
    raise TaskError(
        f"task {name!r}: max_bytes of {config.max_bytes} is too small for one document of domain "
        f"{documents[0].domain!r}; allow at least {max(document.bytes for document in documents)}"
    )
