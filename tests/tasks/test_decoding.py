"""Greedy decoding writes the likeliest token after each prefix, whatever stands in the batch."""

from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.tasks.decoding import Prompt, before_stop, generate, generate_batch
from ablate.tasks.errors import TaskError

A, B, C = (3 + byte for byte in b"abc")


class ByteText:
    """The byte tokenizer of `conftest`, with the way back."""

    bos, eos, pad = 0, 1, 2

    def encode(self, texts):
        return [[3 + byte for byte in text.encode("utf-8")] for text in texts]

    def decode(self, ids):
        return bytes(token - 3 for token in ids if token > 2).decode("utf-8", errors="replace")


def cycle(*tokens):
    """A table that makes each token's likeliest follower the next of ``tokens``."""
    table = torch.zeros(259, 259)
    for before, after in pairwise(tokens):
        table[before, after] = 5.0
    return table


def one_by_one(model, prompt, most, eos):
    """Greedy decoding with one unpadded row a step."""
    made = []
    while len(made) < most and len(prompt) + len(made) <= model.context_length:
        with torch.no_grad():
            token = int(model(torch.tensor([[*prompt, *made]]))[0, -1].argmax())
        if token == eos:
            break
        made.append(token)
    return made


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompts=st.lists(st.lists(st.integers(3, 258), max_size=20), min_size=1, max_size=6),
    most=st.integers(0, 16),
    batch_rows=st.sampled_from([1, 3, 64]),
)
def test_a_batch_continues_each_prompt_as_if_it_were_alone(attention, prompts, most, batch_rows):
    model = attention(context_length=24)
    asked = [Prompt([0, *tokens], most) for tokens in prompts]
    found = generate_batch(model, ByteText(), asked, batch_rows)
    assert found == [one_by_one(model, prompt.tokens, most, eos=1) for prompt in asked]


def test_decoding_ends_at_the_end_token_which_is_not_returned(bigram):
    assert generate(bigram(cycle(0, A, B, 1)), ByteText(), [0], 10) == [A, B]


def test_decoding_ends_once_the_text_holds_a_stop_text(bigram):
    model = bigram(cycle(0, A, B, C, A))
    assert generate(model, ByteText(), [0], 10, stop=["bc"]) == [A, B, C]
    assert before_stop("abcabc", ["bc"]) == "a"
    assert before_stop("abcabc", ["ca", "b"]) == "a"
    assert before_stop("abc", []) == "abc"


def test_decoding_ends_when_the_context_is_full(bigram):
    model = bigram(cycle(0, A, B, C, A), context_length=4)
    assert generate(model, ByteText(), [0], 10) == [A, B, C, A]


def test_equal_logits_go_to_the_smallest_id(constant):
    assert generate(constant(), ByteText(), [0, A], 3) == [0, 0, 0]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (Prompt([], 1), "nothing to continue"),
        (Prompt([0] * 33, 1, source="item 3"), "item 3: 33 tokens do not fit the model's context of 32"),
        (Prompt([0, 400], 1), "token 400 is outside the model's vocabulary of 259"),
        (Prompt([0], -1), "-1 tokens to append"),
        (Prompt([0], 1, ("",)), "a stop text is empty"),
    ],
)
def test_a_prompt_that_cannot_be_continued_is_refused(constant, prompt, said):
    with pytest.raises(TaskError, match=said):
        generate_batch(constant(), ByteText(), [prompt], 1)


def test_a_diverged_model_generates_nothing(bigram):
    with pytest.raises(TaskError, match="not finite; it has diverged"):
        generate(bigram(torch.full((259, 259), torch.nan)), ByteText(), [0], 1)
