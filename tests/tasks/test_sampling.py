"""Sampling follows the model's distribution, its seed, and nothing else."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ablate.tasks.errors import TaskError
from ablate.tasks.sampling import Sampling, fit_prompt, sample

VOCABULARY = 259


class Bytes:
    """Every UTF-8 byte is a token; ids 0 to 2 are BOS, EOS and padding."""

    bos, eos, pad = 0, 1, 2

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [[3 + byte for byte in text.encode("utf-8")] for text in texts]

    def decode(self, ids: list[int]) -> str:
        return bytes(number - 3 for number in ids if number >= 3).decode("utf-8", "replace")


class Bigram:
    """Logits depend on the token before alone: ``table`` float[vocabulary, vocabulary]."""

    vocabulary = VOCABULARY

    def __init__(self, table: Tensor, context_length: int = 32) -> None:
        self.table, self.context_length = table, context_length

    def __call__(self, tokens: Tensor) -> Tensor:
        assert tokens.shape[1] <= self.context_length
        return self.table[tokens]


def random_model() -> Bigram:
    """Never ends a text."""
    table = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(7)) * 2
    table[:, Bytes.eos] = -1e4
    return Bigram(table)


PROMPT = [0, 10, 20]


def test_temperature_zero_takes_the_likeliest_token_each_time() -> None:
    model = random_model()
    made = sample(model, Bytes(), PROMPT, 6, Sampling())
    read = list(PROMPT)
    for token in made:
        with torch.no_grad():
            assert token == int(model(torch.tensor([read]))[0, -1].argmax())
        read.append(token)
    for temperature in (1e-4, 5e-324):
        assert sample(model, Bytes(), PROMPT, 6, Sampling(temperature=temperature)) == made
    assert sample(model, Bytes(), PROMPT, 6, Sampling(temperature=1.0, top_k=1)) == made


def test_one_seed_gives_one_continuation_and_leaves_torchs_generator_alone() -> None:
    model, how = random_model(), Sampling(temperature=1.0, seed=3)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = sample(model, Bytes(), PROMPT, 12, how)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert sample(model, Bytes(), PROMPT, 12, how) == first
    assert sample(model, Bytes(), PROMPT, 12, Sampling(temperature=1.0, seed=4)) != first


def test_tokens_come_as_often_as_the_model_says() -> None:
    table = torch.full((VOCABULARY, VOCABULARY), -30.0)
    table[:, 10], table[:, 20] = 0.0, math.log(3.0)
    model = Bigram(table, context_length=2000)
    count = Counter(sample(model, Bytes(), [0], 400, Sampling(temperature=1.0)))
    assert set(count) == {10, 20}
    assert abs(count[20] / 400 - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 400)
    flat = Counter(sample(model, Bytes(), [0], 400, Sampling(temperature=1000.0, top_k=2)))
    assert abs(flat[20] / 400 - 0.5) < 4 * math.sqrt(0.25 / 400)


def test_the_end_of_text_ends_it() -> None:
    table = torch.zeros(VOCABULARY, VOCABULARY)
    table[:, Bytes.eos] = 100.0
    for how in (Sampling(), Sampling(temperature=1.0)):
        assert sample(Bigram(table), Bytes(), PROMPT, 5, how) == []


def test_a_model_that_diverged_is_an_error() -> None:
    model = Bigram(torch.full((VOCABULARY, VOCABULARY), torch.nan))
    for how in (Sampling(), Sampling(temperature=1.0)):
        with pytest.raises(TaskError, match="not finite"):
            sample(model, Bytes(), PROMPT, 2, how)


@given(
    length=st.integers(0, 40),
    context=st.integers(2, 32),
    most=st.integers(1, 32),
)
def test_a_prompt_keeps_its_beginning_token_and_its_end_and_all_tokens_fit(
    length: int, context: int, most: int
) -> None:
    prompt = [0, *range(3, 3 + length)]
    if most > context:
        with pytest.raises(TaskError, match="do not fit a context"):
            fit_prompt(prompt, context, most)
        return
    fitted, cut = fit_prompt(prompt, context, most)
    assert fitted[0] == 0
    assert fitted[1:] == prompt[1 + cut :]
    assert cut == max(0, len(prompt) - (context - most + 1))
    for how in (Sampling(), Sampling(temperature=1.0)):
        model = Bigram(torch.eye(VOCABULARY) * 9, context)
        assert len(sample(model, Bytes(), fitted, most, how)) <= most


def test_every_position_of_the_context_is_used() -> None:
    model = Bigram(random_model().table, context_length=8)
    fitted, cut = fit_prompt([0, *range(3, 20)], 8, 3)
    assert (len(fitted), cut) == (6, 12)
    assert len(sample(model, Bytes(), fitted, 3, Sampling(temperature=1.0, seed=1))) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"seed": -1},
        {"seed": 1 << 64},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(TaskError, match=next(iter(settings))):
        Sampling(**settings)  # type: ignore[arg-type]
