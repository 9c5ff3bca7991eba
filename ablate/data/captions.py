"""The texts of media samples, tokenised once."""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.content import digest_of, write_once
from ablate.data.documents import document_digest
from ablate.data.media import MediaSamples
from ablate.data.token_file import open_tokens, write_tokens
from ablate.data.tokenizer import TextTokenizer

_FORMAT = "caption-tokens-4"


class CaptionTokens:
    """The captions of some samples, tokenised. It travels between processes as its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tokens, offsets, meta = open_tokens(folder)
        self.tokens: np.memmap = tokens
        """uint16 or uint32[tokens]: each caption's tokens followed by the end token."""
        self.offsets: np.ndarray = offsets
        """int64[captions + 1]: caption c is ``tokens[offsets[c]:offsets[c + 1]]``."""
        self.first: np.ndarray = np.load(folder / "first.npy", allow_pickle=False)
        """int64[samples + 1]: number of each sample's first caption."""
        self.digests: np.ndarray = np.load(folder / "digests.npy", allow_pickle=False)
        """uint64: `document_digest` of each caption and, of interleaved documents, also of all their texts
        joined, with a space at the seams and without."""
        self.digest: str = meta["digest"]
        """Digest of tokens and offsets."""

    def __reduce__(self) -> tuple[Any, ...]:
        return CaptionTokens, (self.folder,)


def build_caption_tokens(samples: MediaSamples, tokenizer: TextTokenizer, cache: Path) -> CaptionTokens:
    """Tokenise all texts of ``samples`` once per (content, tokenizer)."""
    folder = cache / "tokens" / digest_of(_FORMAT, samples.digest, tokenizer.digest)

    def build(partial: Path) -> None:
        digests = array("Q")

        def texts() -> Iterator[str]:
            for sample in range(len(samples)):
                own = samples.texts(sample)
                if samples.segment_first[sample] < samples.segment_first[sample + 1]:
                    digests.extend(document_digest(seam.join(own)) for seam in (" ", ""))
                for text in own:
                    digests.append(document_digest(text))
                    yield text

        write_tokens(partial, texts(), tokenizer)
        np.save(partial / "digests.npy", np.array(digests, dtype=np.uint64))
        np.save(partial / "first.npy", samples.first)

    return CaptionTokens(write_once(folder, build))
