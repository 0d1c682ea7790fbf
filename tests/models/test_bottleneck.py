"""Penalties, codebooks and their statistics are what the papers' formulas say."""

import math
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from support.architectures import BOTTLENECK, examples, random_type_checks

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.models.autoencoder import BOTTLENECKS
from mfcc_wavenet.models.bottleneck import Bottleneck
from mfcc_wavenet.models.codebook import k_means

pytestmark = random_type_checks

CHANNELS, HOP = 5, 32  # of the hidden vectors; samples per latent
YES, NO = torch.tensor(True), torch.tensor(False)
SEEDS = st.integers(0, 2**32 - 1)


def bottleneck(kind: str, seed: int = 0, **changes) -> Bottleneck:
    """With a codebook that is drawn, and in use, where the kind has one."""
    torch.manual_seed(seed)
    made = BOTTLENECKS[kind](replace(BOTTLENECK, kind=kind, **{"normalise": False} | changes), CHANNELS, HOP, seed)
    if kind.startswith("vq"):
        torch.nn.init.normal_(made.codebook.weight)
        made.ready.fill_(True)
        made.counts.fill_(1.0)
        made.replaced.fill_(1)
    if kind == "vqvae-ema":
        made.sums.copy_(made.codebook.weight)
    return made


def weights(counts: torch.Tensor) -> torch.Tensor:
    return counts / counts.sum().clamp(min=1)


def stepped(made: Bottleneck, latents: torch.Tensor, counts: torch.Tensor, step: int = 0, finite=YES) -> dict:
    """What a step does in which these latents were seen, some of which count."""
    kept = {"latents": latents, "units": made.nearest(latents), "counts": counts}
    with torch.no_grad():
        return made.after_step(step, finite, kept)


# ------------------------------------------------------------------------------------------ penalties


def test_an_autoencoder_of_norm_1_has_no_penalty():
    made, hidden = bottleneck("ae"), torch.randn(2, 6, CHANNELS)
    ones = weights(torch.ones(2, 6))
    with torch.no_grad():
        made.linear.bias.zero_()
        norms = made.linear(hidden).norm(dim=-1, keepdim=True)
        torch.testing.assert_close(made(hidden / norms, ones).penalties["norm"], torch.tensor(0.0), atol=1e-6, rtol=0)
        torch.testing.assert_close(made(3 * hidden / norms, ones).penalties["norm"], torch.tensor(2.0))
    assert made.penalty_weights(0) == {"norm": BOTTLENECK.norm_weight}


@examples(30)
@given(seed=SEEDS)
def test_the_divergence_is_that_of_torch(seed):
    """Kullback and Leibler's of a normal distribution from the standard one, in nats per sample."""
    made, hidden = bottleneck("vae", seed, free_bits=0.0), torch.randn(2, 6, CHANNELS)
    counts = torch.rand(2, 6) < 0.7
    counts[0, 0] = True
    mean, log_variance = made.linear(hidden).chunk(2, -1)
    own = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(own, torch.distributions.Normal(0.0, 1.0)).sum(-1)[counts].mean()
    passed = made(hidden, weights(counts))
    torch.testing.assert_close(passed.figures["kl"], expected.detach())
    torch.testing.assert_close(passed.figures["kl_bits"], expected.detach() / math.log(2))
    torch.testing.assert_close(passed.penalties["kl"], expected / HOP)


def test_a_standard_normal_latent_says_nothing_and_free_bits_are_free():
    """At mean 0 and variance 1 the divergence is 0 exactly; below the floor its gradient is, too."""
    made = bottleneck("vae", free_bits=8.0)
    torch.nn.init.zeros_(made.linear.weight)
    torch.nn.init.zeros_(made.linear.bias)
    passed = made(torch.randn(2, 6, CHANNELS), weights(torch.ones(2, 6)))
    assert passed.figures["kl"] == 0
    assert passed.penalties["kl"].item() == pytest.approx(8 * math.log(2) / HOP)
    passed.penalties["kl"].backward()
    assert not made.linear.bias.grad.any()


def test_a_variance_is_neither_huge_nor_tiny():
    """Its logarithm is held within 10 either way, whatever the linear map says."""
    made = bottleneck("vae")
    torch.nn.init.zeros_(made.linear.weight)
    for bias, log_variance in ((1e3, 10.0), (-1e3, -10.0)):
        with torch.no_grad():
            made.linear.bias.copy_(
                torch.cat([torch.zeros(BOTTLENECK.channels), torch.full([BOTTLENECK.channels], bias)])
            )
        kl = made(torch.randn(1, 2, CHANNELS), weights(torch.ones(1, 2))).figures["kl"].item()
        assert kl == pytest.approx(BOTTLENECK.channels * (math.exp(log_variance) - 1 - log_variance) / 2, rel=1e-5)


@given(step=st.integers(0, 100))
def test_the_weight_of_the_divergence_rises_with_the_step_alone(step):
    assert bottleneck("vae").penalty_weights(step) == {"kl": min(1.0, (step + 1) / 10)}
    assert bottleneck("vae", anneal_steps=0).penalty_weights(step) == {"kl": 1.0}


@examples(30)
@given(seed=SEEDS, kind=st.sampled_from(["vqvae", "vqvae-ema"]), normalise=st.booleans())
def test_gradients_pass_straight_through(seed, kind, normalise):
    """The code to the last bit; of any function, the gradient at the latent is that at the code, exactly."""
    made, hidden = bottleneck(kind, seed, normalise=normalise), torch.randn(2, 6, CHANNELS)
    mapped = made.linear(hidden).detach().requires_grad_()
    latents = made._normalised(mapped)
    made.linear.forward = lambda _: mapped
    passed = made(hidden, weights(torch.ones(2, 6)))
    codes = made.codebook.weight.detach()[made.nearest(latents)]
    assert torch.equal(passed.latents, codes)
    function = torch.randn_like(codes)
    (passed.latents.sin() * function).sum().backward()
    at_latents = (codes.cos() * function).detach()
    (expected,) = torch.autograd.grad(latents, mapped, at_latents)
    assert torch.equal(mapped.grad, expected)
    assert made.codebook.weight.grad is None or not made.codebook.weight.grad.any()


@examples(30)
@given(seed=SEEDS)
def test_a_codebook_is_moved_by_its_own_loss_alone(seed):
    """2 (e - z) of each of its latents over all elements; a moving average has no gradient at all."""
    counts = torch.rand(2, 6) < 0.7
    counts[0, 0] = True
    made, hidden = bottleneck("vqvae", seed), torch.randn(2, 6, CHANNELS)
    sum(made(hidden, weights(counts)).penalties.values()).backward()
    latents, codes = made.linear(hidden).detach(), made.codebook.weight.detach()
    units = made.nearest(latents)
    expected = torch.zeros_like(codes)
    for latent, unit in zip(latents[counts], units[counts]):
        expected[unit] += 2 * (codes[unit] - latent) / (counts.sum() * latents.shape[-1])
    torch.testing.assert_close(made.codebook.weight.grad, expected)
    moving = bottleneck("vqvae-ema", seed)
    passed = moving(hidden, weights(counts))
    sum(passed.penalties.values()).backward()
    assert passed.penalties.keys() == {"commitment"} and moving.codebook.weight.grad is None


def test_of_two_codes_as_near_the_first_is_taken():
    made = bottleneck("vqvae")
    with torch.no_grad():
        made.codebook.weight.copy_(torch.tensor([[9, 9, 9], [1, 0, 0], [1, 0, 0], [-1, 0, 0]]))
    assert made.nearest(torch.tensor([[2.0, 0, 0], [0.0, 5, 0], [-2.0, 0, 0]])).tolist() == [1, 1, 3]


@examples(20)
@given(seed=SEEDS)
def test_latents_begin_white(seed):
    """However much the encoded frames have in common: mean 0, and every channel independent of the others."""
    made = bottleneck("vqvae-ema", seed, normalise=True)
    hidden = 100 + torch.randn(500, CHANNELS) @ torch.randn(CHANNELS, CHANNELS)
    made.ready.fill_(False)
    assert made.whitens
    with torch.no_grad():
        made.whiten(hidden)
        latents = made.linear(hidden).double()
    torch.testing.assert_close(latents.mean(0), torch.zeros(3).double(), rtol=0, atol=1e-2)
    torch.testing.assert_close(latents.T.cov(), torch.eye(3).double(), rtol=0, atol=5e-2)


# ----------------------------------------------------------------------------------- moving averages


@examples(30)
@given(seed=SEEDS, steps=st.integers(1, 12), data=st.data())
def test_moving_averages_are_their_closed_form(seed, steps, data):
    """Counts and sums are decayed sums over all steps, in float64; the latents that do not count change nothing."""
    made = bottleneck("vqvae-ema", seed, revive_interval=0)
    decay, codes = 0.9, made.codebook.weight.clone()
    n, m = made.counts.double(), made.sums.double()
    for step in range(steps):
        latents, counts = torch.randn(2, 6, 3), torch.rand(2, 6) < 0.6
        finite = torch.tensor(data.draw(st.booleans()))
        units = made.nearest(latents)
        if data.draw(st.booleans()):  # in another order
            order = torch.tensor([1, 0])
            latents, counts, units = latents[order], counts[order], units[order]
        before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
        stepped(made, latents if finite else latents * torch.nan, counts, step, finite)
        if not finite:
            assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())
            continue
        for unit in range(len(codes)):
            own = latents[counts & (units == unit)].double()
            n[unit] = decay * n[unit] + (1 - decay) * len(own)
            m[unit] = decay * m[unit] + (1 - decay) * own.sum(0)
            codes[unit] = m[unit] / n[unit] if len(own) else codes[unit]
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(made.counts.double(), n, **tolerance)
    torch.testing.assert_close(made.sums.double(), m, **tolerance)
    torch.testing.assert_close(made.codebook.weight, codes, **tolerance)


@examples(40)
@given(seed=SEEDS, sizes=st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_the_memory_holds_the_latest_latents(seed, sizes):
    """Of any number per step, more than it holds included; those that do not count are not among them."""
    made, seen = bottleneck("vqvae", seed, memory=8), []
    for step, size in enumerate(sizes):
        latents, counts = torch.randn(1, size + 3, 3), torch.rand(1, size + 3) < 0.5
        stepped(made, latents, counts, step)
        seen += latents[counts].tolist()
    known = made.memory[: int(made.remembered.clamp(max=8))].tolist()
    assert sorted(known) == sorted(seen[-8:])


# -------------------------------------------------------------------- beginning and revival of codes


@examples(20)
@given(seed=SEEDS, codes=st.integers(2, 12), spare=st.integers(0, 40))
def test_k_means_finds_distinct_means(seed, codes, spare):
    """Exactly as many as asked for, the same bits each time, and better than points that are drawn."""
    points = np.unique(np.random.default_rng(seed).standard_normal((codes + spare, 3)).astype(np.float32), axis=0)
    means = k_means(points, codes, np.random.default_rng(seed))
    assert len(np.unique(means, axis=0)) == codes and means.dtype == np.float32
    np.testing.assert_array_equal(means, k_means(points, codes, np.random.default_rng(seed)))

    def distance(to: np.ndarray) -> float:
        return np.square(points[:, None].astype(np.float64) - to).sum(-1).min(1).mean()

    drawn = [np.random.default_rng(number).choice(points, codes, replace=False) for number in range(5)]
    assert distance(means) <= np.mean([distance(one) for one in drawn]) + 1e-9


def unready(**changes) -> Bottleneck:
    made = bottleneck("vqvae-ema", **changes)
    for tensor in (made.codebook.weight.data, made.ready, made.counts, made.sums, made.replaced):
        tensor.zero_()
    return made


def test_before_there_is_a_codebook_latents_pass_and_cost_nothing():
    made, hidden = unready(quantise_from=2), torch.randn(2, 6, CHANNELS)
    passed = made(hidden, weights(torch.ones(2, 6)))
    assert torch.equal(passed.latents, made.linear(hidden)) and torch.equal(made.encode(hidden), passed.latents)
    assert passed.penalties["commitment"] == 0
    seen = torch.randn(3, 10, 3)
    figures = stepped(made, seen[:1], torch.ones(1, 10, dtype=torch.bool), step=0)
    assert not made.ready and all(tensor.isnan() for tensor in figures.values())
    figures = stepped(made, seen[1:], torch.ones(2, 10, dtype=torch.bool), step=1)
    assert made.ready and 1 <= figures["perplexity"] <= 4 and figures["codes_revived"] == 0
    assert len(made.codebook.weight.unique(dim=0)) == 4
    units = made.nearest(seen)
    for unit, code in enumerate(made.codebook.weight.detach()):
        torch.testing.assert_close(code, seen[units == unit].mean(0), rtol=1e-4, atol=1e-5)
        assert made.counts[unit].item() == pytest.approx(20 * (units == unit).float().mean().item())
    again = made.codebook.weight.clone()
    stepped(made, seen, torch.zeros(3, 10, dtype=torch.bool), step=101)
    assert torch.equal(again, made.codebook.weight)


def test_a_skipped_step_begins_no_codebook_and_a_later_look_does():
    made, latents = unready(quantise_from=2), torch.randn(2, 10, 3)
    counts = torch.ones(2, 10, dtype=torch.bool)
    stepped(made, latents, counts, step=0)
    stepped(made, latents, counts, step=1, finite=NO)
    assert not made.ready
    stepped(made, latents, counts, step=101)
    assert made.ready


def test_too_few_latents_for_the_codes_are_one_sentence():
    made, latents = unready(quantise_from=1), torch.ones(2, 10, 3)
    latents[0, 0] = 2
    with pytest.raises(UserError, match=r"bottleneck\.codes is 4, but only 2 different latents.*would work\."):
        stepped(made, latents, torch.ones(2, 10, dtype=torch.bool))


@pytest.mark.parametrize("kind", ["vqvae", "vqvae-ema"])
def test_a_code_that_nothing_is_near_is_revived(kind):
    """It becomes a latent that was seen, is used again, and those in use stay; not beyond revive_until."""
    for until, revives in ((100, True), (2, False)):
        made = bottleneck(kind, revive_interval=3, revive_until=until, decay=0.5, revive_below=0.2)
        with torch.no_grad():
            made.codebook.weight[2] = 1000.0
            made.counts[2] = 0.0
        for step in range(3):
            latents = made.codebook.weight.detach()[torch.tensor([0, 1, 3] * 4)][None] + 0.01 * torch.randn(1, 12, 3)
            before = made.codebook.weight.clone()
            figures = stepped(made, latents, torch.ones(1, 12, dtype=torch.bool), step)
            if step < 2:
                assert made.codebook.weight[2].tolist() == [1000.0] * 3
        assert figures["codes_revived"] == (1 if revives else 0) and (made.replaced > 1).tolist()[2] == revives
        is_seen = (made.memory[: int(made.remembered)] == made.codebook.weight[2]).all(1).any()
        assert is_seen == revives
        if kind == "vqvae":
            assert torch.equal(before[[0, 1, 3]], made.codebook.weight[[0, 1, 3]])
        if revives:
            assert made.counts[2] == pytest.approx(made.counts[[0, 1, 3]].mean().item(), rel=0.5)
            assert made.nearest(made.codebook.weight[2:3]) == 2


def test_an_average_follows_codes_that_are_replaced():
    """It is not averaged with what the code was; the others are left to the average."""
    average, made = bottleneck("vqvae-ema", 1), bottleneck("vqvae-ema", 2)
    made.replaced[1] += 1
    before = average.codebook.weight.clone()
    with torch.no_grad():
        average.follow(made)
    assert torch.equal(average.codebook.weight[1], made.codebook.weight[1])
    assert torch.equal(average.codebook.weight[[0, 2, 3]], before[[0, 2, 3]])


# ------------------------------------------------------------------------------------------ figures


def test_perplexity_is_the_number_of_codes_in_even_use():
    """In a row of metrics and under the picture of the codebook."""
    for used in range(1, 5):
        made = bottleneck("vqvae")
        made.counts.copy_(torch.tensor([1.0] * used + [0.0] * (4 - used)))
        figures = made._figures()
        assert figures["perplexity"].item() == pytest.approx(used) and figures["codes_used"] == used
        assert made.codes_in_use().perplexity == pytest.approx(used)
    made.counts.copy_(torch.tensor([8.0, 4.0, 4.0, 0.01]))
    figures = made._figures()
    assert 1 < figures["perplexity"] < 3 and figures["codes_used"] == 3
    assert made.codes_in_use().perplexity == pytest.approx(figures["perplexity"].item())


def rows(*perplexities: float) -> list[dict]:
    return [{"step": 200 * number, "perplexity": one} for number, one in enumerate(perplexities, start=1)]


def test_a_collapse_is_told_of_once():
    """After a thousand steps without two codes in use; passes between rows have no perplexity."""
    made, low = bottleneck("vqvae"), [1.2] * 20
    told = [made.warning([{"step": 0, "wrong": 3}, *rows(5.0, *low[:count])]) is not None for count in range(12)]
    assert [count for count, is_told in enumerate(told) if is_told] == [6]
    sentence = made.warning(rows(5.0, *low[:6]))
    assert all(word in sentence for word in ("1.20", "step 1,400", "bottleneck.normalise", "bottleneck.quantise_from"))
    assert made.warning(rows(*low[:5], 2.5, *low[:5])) is None and bottleneck("ae").warning(rows(*low)) is None
