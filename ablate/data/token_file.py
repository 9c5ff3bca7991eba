"""Text tokenised once into a memory-mapped file."""

import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.content import digest_of, write_once
from ablate.data.documents import Document, document_digest
from ablate.data.errors import DataError
from ablate.data.tokenizer import TextTokenizer

_FORMAT = "token-file-1"
_BATCH_DOCUMENTS = 256
_BATCH_CHARACTERS = 1 << 20


class TokenFile:
    """The tokens of some documents.

    It travels between processes as its path; each process maps the file for itself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tokens, offsets, meta = open_tokens(folder)
        self.tokens: np.memmap = tokens
        """uint16 or uint32[tokens]: each document's tokens followed by the end token. The beginning
        token is not stored."""
        self.offsets: np.ndarray = offsets
        """int64[documents + 1]: document d is ``tokens[offsets[d]:offsets[d + 1]]``."""
        self.digests: np.ndarray = np.load(folder / "digests.npy", allow_pickle=False)
        """uint64[documents]: `document_digest` of each text."""
        self.digest: str = meta["digest"]
        """Digest of tokens and offsets."""

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenFile, (self.folder,)

    def __len__(self) -> int:
        """Documents in the file."""
        return len(self.offsets) - 1

    def document(self, number: int) -> np.ndarray:
        """The tokens of one document, its end token included."""
        return self.tokens[self.offsets[number] : self.offsets[number + 1]]


def build_token_file(
    documents: Iterable[Document], tokenizer: TextTokenizer, cache: Path, content: str, part: str = "1/1"
) -> TokenFile:
    """Tokenise ``documents`` once per (``content``, tokenizer, ``part``).

    Args:
        content: a digest of the documents, such as `documents_digest`; ``documents`` is not consumed
            when the cache holds the result.
        part: `k/n` keeps the documents whose digest is k - 1 modulo n. The parts are disjoint, and
            exchangeable because the digest knows nothing of the text's meaning or place.

    Raises:
        DataError: ``part`` is not `k/n` with 1 <= k <= n, or no document is left.
    """
    which, parts = parse_part(part)
    folder = cache / "tokens" / digest_of(_FORMAT, content, tokenizer.digest, f"{which}/{parts}")

    def build(partial: Path) -> None:
        digests = array("Q")

        def kept() -> Iterator[str]:
            for document in documents:
                digest = document_digest(document.text)
                if digest % parts == which - 1:
                    digests.append(digest)
                    yield document.text

        write_tokens(partial, kept(), tokenizer)
        if not digests:
            left = f" in part {part}" if parts > 1 else ""
            raise DataError(f"text stream: no documents are left{left}; check its paths and part")
        np.save(partial / "digests.npy", np.frombuffer(digests, dtype=np.uint64))

    return TokenFile(write_once(folder, build))


def capped_token_file(whole: TokenFile, max_tokens: int, cache: Path, name: str) -> TokenFile:
    """The first documents of ``whole`` in the order of their digests, as many as hold ``max_tokens`` tokens.

    The order knows nothing of a text's meaning or place, and what a smaller cap keeps is the beginning of
    what a larger one keeps. Documents are kept whole, so that the file may hold fewer tokens than the cap by
    less than the next document; end tokens count.

    Args:
        name: of the stream, for messages.

    Raises:
        DataError: ``whole`` holds fewer tokens, or its first document more.
    """
    there = len(whole.tokens)
    if max_tokens > there:
        raise DataError(
            f"stream {name!r}: max_tokens is {max_tokens:,}, and there are {there:,} tokens (end tokens "
            f"included); lower streams.{name}.max_tokens or name more files"
        )
    order = np.argsort(whole.digests, kind="stable")
    held = np.cumsum(np.diff(whole.offsets)[order])
    count = int(np.searchsorted(held, max_tokens, side="right"))
    if not count:
        raise DataError(
            f"stream {name!r}: max_tokens is {max_tokens:,}, and the first document, which is kept whole, "
            f"has {int(held[0]):,} tokens; raise streams.{name}.max_tokens"
        )
    folder = cache / "tokens" / digest_of(_FORMAT, "capped", whole.folder.name, str(max_tokens))

    def build(partial: Path) -> None:
        with _TokenWriter(partial, whole.tokens.dtype) as out:
            for number in order[:count]:
                out.add(whole.document(int(number)))
        np.save(partial / "digests.npy", whole.digests[order[:count]])

    return TokenFile(write_once(folder, build))


def parse_part(part: str) -> tuple[int, int]:
    """`k/n` as (k, n).

    Raises:
        DataError: it is anything else than two numbers with 1 <= k <= n.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", part.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise DataError(f"part is {part!r}; it must be k/n with 1 <= k <= n, such as 1/2")
    return int(match[1]), int(match[2])


def write_tokens(folder: Path, texts: Iterable[str], tokenizer: TextTokenizer) -> None:
    """Write the tokens of ``texts``, each followed by the end token, into the new ``folder``.

    One batch of texts is in memory at a time, and 8 bytes for each text before it.
    """
    with _TokenWriter(folder, np.dtype(np.uint16 if tokenizer.vocabulary <= 1 << 16 else np.uint32)) as out:
        for batch in _batches(texts):
            for ids in tokenizer.encode(batch):
                ids.append(tokenizer.eos)
                out.add(np.asarray(ids, dtype=out.dtype))


class _TokenWriter:
    """Documents one after another into a new folder, as `open_tokens` reads it."""

    def __init__(self, folder: Path, dtype: "np.dtype[Any]") -> None:
        folder.mkdir()
        self.folder, self.dtype = folder, dtype
        self._offsets = array("q", [0])
        self._hasher = hashlib.blake2b(digest_size=16)
        self._out = (folder / "tokens.bin").open("wb")

    def add(self, tokens: np.ndarray) -> None:
        """Append a document of ``dtype``, its end token included."""
        data = tokens.tobytes()
        self._hasher.update(data)
        self._out.write(data)
        self._offsets.append(self._offsets[-1] + len(tokens))

    def __enter__(self) -> "_TokenWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._out.close()
        if kind is not None:
            return
        table = np.frombuffer(self._offsets, dtype=np.int64)
        self._hasher.update(table.tobytes())
        np.save(self.folder / "offsets.npy", table)
        meta = {"dtype": self.dtype.name, "tokens": int(table[-1]), "digest": self._hasher.hexdigest()}
        (self.folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def open_tokens(folder: Path) -> tuple[np.memmap, np.ndarray, dict[str, Any]]:
    """Tokens, offsets and meta data that `write_tokens` left in ``folder``.

    Raises:
        DataError: a file is missing or has another size than it was written with.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        offsets = np.load(folder / "offsets.npy", allow_pickle=False)
        tokens = np.memmap(folder / "tokens.bin", dtype=np.dtype(meta["dtype"]), mode="r")
        if len(tokens) != meta["tokens"] or offsets[-1] != meta["tokens"]:
            raise ValueError(f"{len(tokens):,} tokens instead of {meta['tokens']:,}")
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: the cached tokens are damaged ({error}); delete this folder") from error
    return tokens, offsets, meta


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if len(batch) >= _BATCH_DOCUMENTS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
