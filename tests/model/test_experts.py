"""Experts in groups against a loop over tokens, and a router that balances itself."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model.tiny import TINY_SPARK, text_tokens, tiny_model
from polymnia.model.config import SparkTextConfig
from polymnia.model.experts import Experts, MixtureOfExperts, Router, balance, balanced, grouped_linear
from polymnia.model.pointwise import rms_norm

torch.set_num_threads(1)


def small(**changes: int) -> SparkTextConfig:
    sizes = {"hidden_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1, "moe_hidden_size": 16}
    sizes |= {"moe_intermediate_size": 12, "num_local_experts": 8, "num_experts_per_tok": 2, "num_hidden_layers": 2}
    return SparkTextConfig(**(sizes | changes))  # type: ignore[arg-type]


def random_experts(config: SparkTextConfig) -> Experts:
    torch.manual_seed(0)
    experts = Experts(config)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.normal_(std=0.4)
    return experts


def by_token(experts: Experts, x: Tensor, choice: Tensor, weights: Tensor) -> Tensor:
    """The definition: each token through each of its experts."""
    out = torch.zeros_like(x)
    norm = experts.post_expert_norm
    for token in range(len(x)):
        for expert, weight in zip(choice[token].tolist(), weights[token], strict=True):
            gate, up = (experts.gate_up_proj[expert] @ x[token]).chunk(2)
            made = experts.down_proj[expert] @ (F.silu(gate) * up)
            out[token] += weight * rms_norm(made * (1 + norm.weight), norm.eps)
    return out


@pytest.mark.parametrize("inner", [12, 13], ids=["sides for the kernel", "sides for the loop"])
@pytest.mark.parametrize("tokens", [1, 3, 40])
def test_groups_are_the_loop_over_tokens(inner: int, tokens: int) -> None:
    experts = random_experts(small(moe_intermediate_size=inner))
    x = torch.randn(tokens, 16, requires_grad=True)
    choice = torch.rand(tokens, 8).topk(2).indices
    choice[: tokens // 2] = torch.tensor([5, 2])  # crowded experts, and some with nothing
    weights = torch.rand(tokens, 2, requires_grad=True)
    inputs = (x, weights, *experts.parameters())
    grouped, expected = experts(x, choice, weights), by_token(experts, x, choice, weights)
    torch.testing.assert_close(grouped, expected, rtol=0, atol=1e-5)
    direction = torch.randn(tokens, 16)
    for ours, theirs in zip(
        torch.autograd.grad((grouped * direction).sum(), inputs),
        torch.autograd.grad((expected * direction).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_frozen_experts_change_only_the_last_bits() -> None:
    layer, x = MixtureOfExperts(small()), torch.randn(3, 5, 24)
    for parameter in layer.parameters():
        parameter.normal_(std=0.4)
    before = layer(x)
    layer.gate.freeze()
    layer.experts.freeze()
    torch.testing.assert_close(layer(x), before, rtol=0, atol=1e-4)


def test_grouped_linear_under_autocast_is_bf16_with_fp32_gradients() -> None:
    x, weight = torch.randn(6, 16, requires_grad=True), torch.randn(3, 8, 16, requires_grad=True)
    counts = torch.tensor([4, 0, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = grouped_linear(x, weight, counts)
    assert out.dtype == torch.bfloat16
    expected = torch.cat((x[:4] @ weight[0].T, x[4:] @ weight[2].T))
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.1)
    out.float().sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert not weight.grad[1].any()


def test_the_router_scores_in_fp32_under_autocast() -> None:
    """bf16 could not tell these two experts apart."""
    router = Router(small(num_experts_per_tok=1, num_local_experts=2))
    with torch.no_grad():
        router.weight[0], router.weight[1] = 1.0, 1.001
    with torch.autocast("cpu", dtype=torch.bfloat16):
        choice, weights = router(torch.ones(1, 24))
    assert choice.item() == 1
    assert weights.dtype == torch.float32


def test_a_step_of_the_bias() -> None:
    bias, loads = torch.tensor([0.0, 0.5, -0.5, 0.0]), torch.tensor([10.0, 2.0, 4.0, 0.0])  # 4 on average
    torch.testing.assert_close(balanced(bias, loads, rate=0.1), torch.tensor([-0.1, 0.6, -0.5, 0.1]))


def test_loads_are_counted_in_training_alone() -> None:
    router, x = Router(small()), torch.randn(7, 24)
    router.eval()(x)
    assert router.loads.sum() == 0
    router.train()(x)
    router(x)
    assert router.loads.sum() == 2 * 7 * 2
    balance(router)
    assert router.loads.sum() == 0


@torch.no_grad()
def test_balancing_evens_out_a_skewed_router() -> None:
    """Two of eight experts get almost everything at first; no token's scores are touched."""
    torch.manual_seed(0)
    router = Router(small(hidden_size=16)).train()
    router.multiplier = 1.0
    router.weight.normal_(std=0.3)
    shift = torch.randn(16)
    router.weight[:2] += 0.4 * shift
    x = torch.randn(512, 16) + shift

    def crowding() -> float:
        """The largest load beside the mean."""
        router(x)
        return float(router.loads.max() / router.loads.mean())

    assert crowding() > 3.5
    for _ in range(600):
        balance(router, rate=5e-3)
        last = crowding()
    assert last < 1.1
    choice, weights = router(x)
    scores = torch.sigmoid(x @ router.weight.T).gather(1, choice)
    torch.testing.assert_close(weights, scores / scores.sum(1, keepdim=True))


def test_balance_reaches_every_router_of_a_network() -> None:
    model = tiny_model(TINY_SPARK).train()
    routers = [module for module in model.modules() if isinstance(module, Router)]
    before = [router.e_score_correction_bias.clone() for router in routers]
    model(text_tokens(2, 12))
    balance(model, rate=0.25)
    assert len(routers) == 3  # the first of the four layers is dense
    for router, bias in zip(routers, before, strict=True):
        assert ((router.e_score_correction_bias - bias).abs() <= 0.25 + 1e-6).all()
        assert not torch.equal(router.e_score_correction_bias, bias)
