"""The study's one tokenizer: byte-level BPE trained on its text, or any `tokenizer.json`.

Byte-level BPE as in GPT-2 (Radford et al. 2019, section 2.2), with GPT-2's pre-tokenisation.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.data.content import digest_of, write_once
from ablate.data.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"
SMALLEST_VOCABULARY = 256 + 3
"""Every byte and the three special tokens."""

_USUAL = {
    "eos": (EOS, "<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<|im_end|>", "[SEP]"),
    "bos": (BOS, "<|begin_of_text|>", "<|startoftext|>", "<s>", "<bos>", "[BOS]", "[CLS]"),
    "pad": (PAD, "<pad>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>"),
}
_BATCH = 1024
_PROBE = (
    "The Quick brown fox's 0123456789 (50%)\n\tNa\u00efve caf\u00e9 \u00dcber \u6f22\u5b57 "
    "\u304b\u306a \ud55c\uae00 \U0001f642  two  spaces [x] don't .\n"
)
"""What every tokenizer must give back. It is in composed form (NFC), which some byte-level tokenizers
normalise to."""


class TextTokenizer:
    """A tokenizer with the ids a study needs.

    Text is only text: a string such as `<|eos|>` inside it becomes ordinary tokens.
    """

    def __init__(self, model: "Tokenizer", bos: str, eos: str, pad: str) -> None:
        model.no_truncation()
        model.no_padding()
        model.encode_special_tokens = True
        # It only says what a caller who asks for special tokens gets, which is nobody here; see `save`.
        model.post_processor = None
        self._model = model
        self._names = {"bos_token": bos, "eos_token": eos, "pad_token": pad}
        self.bos, self.eos, self.pad = (_id(model, name) for name in (bos, eos, pad))
        self.vocabulary: int = max(model.get_vocab(with_added_tokens=True).values()) + 1
        """Ids are below this."""
        self.digest: str = digest_of("tokenizer", model.to_str(), bos, eos, pad)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._model.to_str(), *self._names.values())

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, without any special token."""
        return [item.ids for item in self._model.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``; special tokens are left out."""
        return str(self._model.decode(list(ids), skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` as transformers' AutoTokenizer reads them.

        There, a text that is encoded with special tokens begins with BOS, as every row of the training did.
        The digest is that of the tokenizer without this.
        """
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **self._names,
        }
        (folder / "tokenizer.json").write_text(self._opening_with_bos(), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

    def _opening_with_bos(self) -> str:
        """The tokenizer as JSON, with BOS put before every text."""
        from tokenizers import Tokenizer, processors

        bos = self._names["bos_token"]
        model = Tokenizer.from_str(self._model.to_str())
        model.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", bos, "$B"], special_tokens=[(bos, self.bos)]
        )
        return str(model.to_str(pretty=True))


def _id(model: "Tokenizer", name: str) -> int:
    number = model.token_to_id(name)
    if number is None:
        raise DataError(f"tokenizer: has no token {name!r}")
    return int(number)


def _rebuild(text: str, bos: str, eos: str, pad: str) -> TextTokenizer:
    from tokenizers import Tokenizer

    return TextTokenizer(Tokenizer.from_str(text), bos, eos, pad)


def train_tokenizer(texts: Iterable[str], vocabulary: int, cache: Path, content: str) -> TextTokenizer:
    """Byte-level BPE of at most ``vocabulary`` tokens (fewer when the text has fewer pairs to merge).

    Ids 0, 1, 2 are `<|pad|>`, `<|bos|>`, `<|eos|>`. Trained once per ``content`` (a digest of the texts)
    and ``vocabulary``; ``texts`` is not consumed when the cache holds the result.

    Raises:
        DataError: ``vocabulary`` is too small for every byte, or there is no text.
    """
    if vocabulary < SMALLEST_VOCABULARY:
        raise DataError(
            f"tokenizer: a vocabulary of {vocabulary} is too small; {SMALLEST_VOCABULARY} hold every byte "
            "and the special tokens"
        )
    target = cache / "tokenizers" / f"{digest_of('bpe-1', content, str(vocabulary))}.json"
    write_once(target, lambda partial: _train(texts, vocabulary, partial))
    return _rebuild(target.read_text(encoding="utf-8"), BOS, EOS, PAD)


def _train(texts: Iterable[str], vocabulary: int, target: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    seen = 0

    def batches() -> Iterable[list[str]]:
        nonlocal seen
        batch: list[str] = []
        for text in texts:
            batch.append(text)
            seen += 1
            if len(batch) == _BATCH:
                yield batch
                batch = []
        yield batch

    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(batches(), trainer)
    if not seen:
        raise DataError("tokenizer: there is no text to train on; check the paths of the text streams")
    target.write_text(model.to_str(), encoding="utf-8")


def load_tokenizer(path: Path) -> TextTokenizer:
    """The tokenizer in a `tokenizer.json`, or in the folder that holds one.

    Beginning, end and padding are taken from a `tokenizer_config.json` beside it, else from the usual
    names; without padding or beginning the end token serves.

    Raises:
        DataError: the file is missing or no tokenizer, has no end-of-text token, would turn text into a
            special token, or does not give back the text it was given.
    """
    from tokenizers import Tokenizer

    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        model = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); check tokenizer.path") from error
    except Exception as error:  # tokenizers raises the bare class
        raise DataError(f"{file}: not a tokenizer.json of the tokenizers library ({error})") from error
    named = _named_beside(file)
    found = {role: _first_known(model, named.get(role), _USUAL[role]) for role in _USUAL}
    eos = found["eos"]
    if eos is None:
        raise DataError(
            f"{file}: has no end-of-text token (looked for {', '.join(_USUAL['eos'])}); add one of these to "
            "its added_tokens, or name it as eos_token in a tokenizer_config.json beside it"
        )
    tokenizer = TextTokenizer(model, found["bos"] or eos, eos, found["pad"] or eos)
    _check_lossless(file, tokenizer)
    for name in {found["bos"], eos, found["pad"]} - {None}:
        if name and model.token_to_id(name) in tokenizer.encode([name])[0]:
            raise DataError(
                f"{file}: turns the text {name!r} into the special token; mark it as special in added_tokens"
            )
    return tokenizer


def _check_lossless(file: Path, tokenizer: TextTokenizer) -> None:
    # Bits per byte divides by the bytes of the text, which must be the text that the tokens stand for.
    advice = (
        "bits per byte would be wrong; use a byte-level or byte-fallback tokenizer without lossy normaliser"
    )
    try:
        back = tokenizer.decode(tokenizer.encode([_PROBE])[0])
    except Exception as error:  # tokenizers raises the bare class
        raise DataError(f"{file}: cannot encode {_PROBE!r} ({error}); {advice}") from error
    # Some tokenizers open every text with a space.
    if back.removeprefix(" ") != _PROBE:
        raise DataError(f"{file}: loses text: {_PROBE!r} came back as {back!r}; {advice}")


def _named_beside(file: Path) -> dict[str, str]:
    config = file.with_name("tokenizer_config.json")
    if not config.is_file():
        return {}
    try:
        held = json.loads(config.read_text(encoding="utf-8"))
        entries = {role: held.get(f"{role}_token") for role in _USUAL}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{config}: not a JSON object ({error}); mend or remove it") from error
    names = {
        role: entry.get("content") if isinstance(entry, dict) else entry for role, entry in entries.items()
    }
    return {role: name for role, name in names.items() if isinstance(name, str)}


def _first_known(model: "Tokenizer", named: str | None, usual: Iterable[str]) -> str | None:
    for name in [named, *usual] if named else usual:
        if name is not None and model.token_to_id(name) is not None:
            return name
    return None
