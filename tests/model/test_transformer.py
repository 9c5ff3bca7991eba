"""The backbone: Llama in all but name, blind to other documents, and counted right."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ablate.budget.flops import row_flops
from ablate.model.attention import attend, sees, visible
from ablate.model.transformer import Transformer, weights_digest
from ablate.recipe.schema import ModelConfig
from ablate.seeding import seeded_init

VOCABULARY = 97
SMALL = ModelConfig(layers=2, width=48, heads=4, kv_heads=2, mlp_width=80, context_length=24)


def build(config: ModelConfig = SMALL, seed: int = 0) -> Transformer:
    with seeded_init(seed, "init/backbone"):
        return Transformer(config, VOCABULARY)


def tokens(rows: int = 2, length: int = 24) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    assert weights_digest(build()) == weights_digest(build())
    assert weights_digest(build()) != weights_digest(build(seed=1))


def test_what_was_drawn_before_does_not_move_the_init() -> None:
    reference = weights_digest(build())
    torch.randn(1000)
    assert weights_digest(build()) == reference


def test_building_leaves_the_global_generator_where_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    build()
    assert torch.equal(torch.randn(3), expected)


def test_later_tokens_do_not_change_earlier_logits() -> None:
    model, text = build(), tokens()
    changed = text.clone()
    changed[:, 15:] = 3
    assert torch.allclose(model(text)[:, :15], model(changed)[:, :15], atol=1e-6)


def test_documents_in_a_row_do_not_see_one_another() -> None:
    model, text = build(), tokens()
    document = (torch.arange(24) >= 10).long().expand(2, -1)
    position = torch.where(document == 1, torch.arange(24) - 10, torch.arange(24))
    packed = model(text, document, position)
    assert torch.allclose(packed[:, 10:], model(text[:, 10:]), atol=1e-5)
    assert torch.allclose(packed[:, :10], model(text[:, :10]), atol=1e-5)


def test_padding_changes_nothing_and_stays_finite() -> None:
    model, text = build(), tokens()
    document = torch.where(torch.arange(24) < 20, 0, -1).expand(2, -1)
    padded = model(text, document, torch.arange(24).expand(2, -1))
    assert torch.allclose(padded[:, :20], model(text[:, :20]), atol=1e-5)
    assert torch.isfinite(padded).all()


def test_the_mask_for_gpus_is_the_mask_for_cpus() -> None:
    from torch.nn.attention.flex_attention import create_block_mask, create_mask, flex_attention

    document = torch.tensor([[0, 0, 0, -1, 0, 1, 1, -1], [0, 1, 1, 1, 1, 1, 2, 2]])
    dense = visible(document)
    assert torch.equal(create_mask(sees(document), 2, None, 8, 8, device="cpu").expand_as(dense), dense)
    query, key, value = (torch.randn(2, 4, 8, 16) for _ in range(3))
    mask = create_block_mask(sees(document), 2, None, 8, 8, device="cpu")
    theirs = flex_attention(query, key, value, block_mask=mask)
    assert torch.allclose(attend(query, key, value, dense), theirs, atol=1e-5)


@pytest.mark.parametrize(
    "config", [SMALL, ModelConfig(layers=3, width=32, heads=2, context_length=16, tied=False)]
)
def test_structural_flops_agree_with_the_counter_under_math_attention(config: ModelConfig) -> None:
    model, rows = build(config), 3
    text = tokens(rows, config.context_length)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss = F.cross_entropy(model(text).flatten(0, 1), text.flatten())
        forward = counter.get_total_flops()
        loss.backward()
    costs = row_flops(config, VOCABULARY).values()
    assert forward == pytest.approx(sum(cost.forward for cost in costs) * rows, rel=0.01)
    assert counter.get_total_flops() == pytest.approx(sum(cost.total for cost in costs) * rows, rel=0.01)


def test_the_counter_that_pytorch_offers_misses_attention_on_cpu() -> None:
    """Why the count is structural. If PyTorch learns to see it, this test says so."""
    query = torch.randn(1, 2, 64, 16)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        F.scaled_dot_product_attention(query, query, query, is_causal=True)
    assert counter.get_total_flops() == 0
