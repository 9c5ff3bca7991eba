"""Log-likelihoods are the model's own, whatever they are batched with."""

import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.tasks import logits
from ablate.tasks.errors import TaskError
from ablate.tasks.likelihood import (
    Request,
    continuation_log_likelihoods,
    is_uniform,
    tied,
    truncate_contexts,
)

PAD = 2


def _requests(count: int, context_length: int = 32) -> list[Request]:
    draw = random.Random(0)
    found = []
    for _ in range(count):
        scored = draw.randint(1, context_length // 2)
        before = draw.randint(0, context_length - scored)
        tokens = [draw.randrange(3, 259) for _ in range(scored + before)]
        found.append(Request([0, *tokens[:before]], tokens[before:]))
    return found


token = st.integers(3, 258)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.lists(token, max_size=12), st.lists(token, min_size=1, max_size=12)),
        min_size=1,
        max_size=6,
    )
)
def test_log_likelihoods_equal_those_of_one_forward_pass_a_token(attention, brute_force, pairs) -> None:
    model = attention()
    requests = [Request([0, *context], continuation) for context, continuation in pairs]
    found = continuation_log_likelihoods(model, requests, PAD, 4)
    for value, request in zip(found, requests, strict=True):
        assert value == pytest.approx(
            brute_force(model, request.context, request.continuation), rel=1e-5, abs=1e-5
        )


def test_log_likelihoods_do_not_depend_on_batch_size_or_order(attention) -> None:
    model, requests = attention(), _requests(150)
    reference = continuation_log_likelihoods(model, requests, PAD, 1)
    for batch_rows in (7, 64):
        order = list(range(len(requests)))
        random.Random(batch_rows).shuffle(order)
        found = continuation_log_likelihoods(model, [requests[index] for index in order], PAD, batch_rows)
        for value, index in zip(found, order, strict=True):
            assert abs(value - reference[index]) < 1e-5 * max(1.0, abs(reference[index]))


def test_a_row_is_padded_to_the_same_width_alone_and_in_company(attention) -> None:
    requests = _requests(60)
    alone = set()
    for request in requests:
        model = attention()
        continuation_log_likelihoods(model, [request], PAD, 64)
        alone.add(model.rows_seen[0][1])
    together = attention()
    continuation_log_likelihoods(together, requests, PAD, 64)
    assert {width for _, width in together.rows_seen} == alone == {8, 16, 24, 32}


def test_the_padding_token_is_never_seen(attention) -> None:
    model, requests = attention(), _requests(40)
    assert continuation_log_likelihoods(model, requests, PAD, 8) == continuation_log_likelihoods(
        model, requests, 77, 8
    )


def test_no_batch_exceeds_the_rows_or_the_context(attention) -> None:
    model = attention(context_length=29)
    continuation_log_likelihoods(model, _requests(100, 29), PAD, 7)
    assert max(rows for rows, _ in model.rows_seen) <= 7
    assert max(width for _, width in model.rows_seen) <= 29


def test_equal_requests_get_equal_values_and_run_once(attention) -> None:
    model = attention()
    twice = [Request([0, 5, 6], [7, 8]), Request([0, 9], [7]), Request([0, 5, 6], [7, 8])]
    found = continuation_log_likelihoods(model, twice, PAD, 64)
    assert found[0] == found[2] != found[1]
    assert sum(rows for rows, _ in model.rows_seen) == 2


def test_a_long_context_loses_tokens_after_bos_and_the_continuation_none(attention) -> None:
    context, continuation = [0, *range(10, 60)], [100, 101, 102]
    fitted, cut = truncate_contexts([Request(context, continuation), Request([0, 5], [6])], 32)
    assert cut == 1
    assert fitted[0].context == [0, *range(31, 60)]
    assert fitted[0].continuation == continuation
    assert len(fitted[0].context) + len(continuation) - 1 == 32
    whole, kept = (
        continuation_log_likelihoods(attention(), [request], PAD, 1)
        for request in (Request(context, continuation), fitted[0])
    )
    assert whole == kept


def test_a_continuation_that_just_fits_is_scored_and_one_token_more_is_refused_by_name(
    attention, brute_force
) -> None:
    model = attention(context_length=16)
    fits = list(range(10, 26))
    (value,) = continuation_log_likelihoods(model, [Request([0, 3, 4], fits)], PAD, 4)
    assert value == pytest.approx(brute_force(model, [0], fits), rel=1e-5)
    with pytest.raises(TaskError, match=r"choices\.jsonl:7: 17 tokens .* context of 16"):
        continuation_log_likelihoods(model, [Request([0], [*fits, 26], "choices.jsonl:7")], PAD, 4)


def test_a_token_of_another_tokenizer_is_refused(attention) -> None:
    with pytest.raises(TaskError, match=r"items:3: token 259 is outside .* 259"):
        continuation_log_likelihoods(attention(), [Request([0], [259], "items:3")], PAD, 4)


def test_nothing_to_score_is_refused(attention) -> None:
    with pytest.raises(TaskError, match="items:1"):
        continuation_log_likelihoods(attention(), [Request([0, 4], [], "items:1")], PAD, 4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_model_is_not_scored(bigram, bad: float) -> None:
    table = torch.zeros(8, 8)
    table[5, 6] = bad
    with pytest.raises(TaskError, match=r"items:2.*diverged"):
        continuation_log_likelihoods(
            bigram(table), [Request([0], [5], "items:1"), Request([0, 5], [6], "items:2")], PAD, 4
        )


def test_half_precision_logits_are_refused(bigram) -> None:
    with pytest.raises(TaskError, match="bfloat16"):
        continuation_log_likelihoods(bigram(torch.zeros(8, 8).bfloat16()), [Request([0], [5])], PAD, 4)


def test_scores_are_fp32_under_autocast_and_reduced_precision_and_leave_both_as_they_were(attention) -> None:
    model, requests, precisions = attention(), _requests(20), []
    reference = continuation_log_likelihoods(model, requests, PAD, 8)
    model.register_forward_hook(lambda *_: precisions.append(torch.get_float32_matmul_precision()))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert continuation_log_likelihoods(model, requests, PAD, 8) == reference
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
        assert set(precisions) == {"highest"}
    finally:
        torch.set_float32_matmul_precision(before)


def test_normalising_a_few_positions_at_a_time_changes_nothing(attention, monkeypatch) -> None:
    model, requests = attention(), _requests(30)
    reference = continuation_log_likelihoods(model, requests, PAD, 16)
    monkeypatch.setitem(logits._LOGITS, "cpu", 5 * 259)
    assert continuation_log_likelihoods(model, requests, PAD, 16) == pytest.approx(reference, rel=1e-6)


def test_ties_are_rounding_wide_and_no_wider() -> None:
    assert tied(-100.0, -100.00005)
    assert not tied(-100.0, -100.0003)
    assert tied(0.0, -1e-7)
    assert not tied(-5.0, -5.0001)


def test_only_a_model_that_says_nothing_counts_as_uniform(attention, constant) -> None:
    requests = [Request([0, 9], [7, 8, 9]), Request([0, 9], [7])]
    for model, expected in ((constant(), True), (attention(), False)):
        found = continuation_log_likelihoods(model, requests, PAD, 4)
        assert is_uniform(found, [3, 1], 259) is expected
