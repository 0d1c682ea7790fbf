"""Bottlenecks with a codebook: each latent becomes one of a number of vectors, and so one integer, its unit."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor
from torch.nn import functional

from mfcc_wavenet.config.autoencoder_settings import BottleneckSettings
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.models.bottleneck import Bottleneck, CodesInUse, Passed, moments
from mfcc_wavenet.models.embedding import Embedding

KMEANS_ITERATIONS = 20
READY_INTERVAL = 100  # steps between two looks at whether a codebook that should be there is there
USED = 0.1  # of 1 / codes: a code that is used less is not counted as used
COLLAPSED_PERPLEXITY, COLLAPSED_STEPS = 2.0, 1000  # below it for so long, a codebook has collapsed


class Vqvae(Bottleneck):
    """The nearest vector of a codebook, which gradients move (van den Oord et al. 2017, "Neural discrete
    representation learning", equation 3); the decoder's gradient passes straight through.

    Until there is a codebook, latents pass as they are: a codebook that is there while the encoder still moves far
    serves few of them. It begins as the means that k-means finds. A code that is hardly used is revived: it becomes one
    of the latest latents.
    """

    learns_codes = True  # by gradients

    def __init__(self, settings: BottleneckSettings, in_channels: int, latent_hop: int, seed: int):
        super().__init__(settings, in_channels, latent_hop, seed)
        codes, channels = settings.codes, settings.channels
        # A parameter also where no gradient moves it, so that averaged weights have an averaged codebook.
        self.codebook = Embedding(codes, channels, _weight=torch.zeros(codes, channels))
        self.codebook.weight.requires_grad_(self.learns_codes)
        self.register_buffer("ready", torch.tensor(False))  # whether there is a codebook
        self.register_buffer("counts", torch.zeros(codes))  # latents of each code in a step, a moving average
        self.register_buffer("replaced", torch.zeros(codes, dtype=torch.int64))  # how often each code was
        self.register_buffer("memory", torch.zeros(settings.memory, channels))  # the latest latents, in a ring
        self.register_buffer("remembered", torch.tensor(0))  # latents so far, less those of all rounds but the first

    # --- a pass -----------------------------------------------------------------------------------

    def _passed(self, mapped: Float[Tensor, "B L D"], weights: Float[Tensor, "B L"]) -> Passed:
        latents = self._normalised(mapped)
        units = self.nearest(latents)
        codes = self.codebook(units)
        distances = {"commitment": latents - codes.detach()}
        if self.learns_codes:
            distances["codebook_loss"] = latents.detach() - codes
        squares = {name: (distance.square().mean(-1) * weights).sum() for name, distance in distances.items()}
        penalties = {name: torch.where(self.ready, mean, 0) for name, mean in squares.items()}
        # The code to the last bit, and the gradient of the identity.
        straight_through = codes.detach() + (latents - latents.detach())
        detached = latents.detach()
        return Passed(
            torch.where(self.ready, straight_through, latents),
            penalties,
            {name: penalty.detach() for name, penalty in penalties.items()} | moments(detached, weights),
            {"latents": detached, "units": units, "counts": weights > 0},
        )

    def _encoded(self, mapped: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        latents = self._normalised(mapped)
        return torch.where(self.ready, self.codebook(self.nearest(latents)), latents)

    def _normalised(self, mapped: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return functional.layer_norm(mapped, mapped.shape[-1:]) if self.normalises else mapped

    def nearest(self, latents: Float[Tensor, "*of D"]) -> Int[Tensor, "*of"]:
        """The unit of each latent: the code at the least Euclidean distance, of several the first."""
        codes = self.codebook.weight.detach()
        return (codes.square().sum(-1) - 2 * latents.detach() @ codes.T).argmin(-1)

    def penalty_weights(self, step: int) -> dict[str, float]:
        return {"commitment": self.settings.commitment, "codebook_loss": 1.0}

    # --- the codebook -----------------------------------------------------------------------------

    @property
    def whitens(self) -> bool:
        return self.settings.normalise and not self.ready

    def before_training(self, steps: Iterator[dict[str, Tensor]]) -> None:
        if self.settings.quantise_from or self.ready:
            return
        for kept in steps:
            self._remember(kept["latents"].flatten(0, 1), kept["counts"].flatten())
            if self.remembered >= len(self.memory):
                self._begin(kept["counts"].sum())
                return

    def after_step(self, step: int, finite: Bool[Tensor, ""], kept: dict[str, Tensor]) -> dict[str, float | Tensor]:
        latents, units, counts = (kept[name].flatten(0, 1) for name in ("latents", "units", "counts"))
        settings, done = self.settings, step + 1
        self._remember(latents, counts & finite)
        self._count(latents, units, counts, finite & self.ready)
        # The two alone wait for a GPU, and only at their steps.
        since = done - settings.quantise_from
        is_due = since >= 0 and since % READY_INTERVAL == 0
        if is_due and finite and not self.ready:
            self._begin(counts.sum())
        elif self._may_revive(done) and finite and self.ready:
            self._revive(step)
        return self._figures()

    def _may_revive(self, done: int) -> bool:
        interval, last = self.settings.revive_interval, self.settings.revive_until
        return interval > 0 and done % interval == 0 and done <= last

    def _remember(self, latents: Float[Tensor, "N D"], counts: Bool[Tensor, " N"]) -> None:
        """Puts the latents that count into the ring; nothing waits for how many those are."""
        size = len(self.memory)
        order = counts.cumsum(0)
        place = (self.remembered + order - 1) % size
        fits = counts & (order > order[-1] - size)  # of more than the ring holds, the last ones
        longer = torch.cat([self.memory, self.memory[:1]])  # its last row takes what does not count
        longer[torch.where(fits, place, size)] = latents
        self.memory.copy_(longer[:size])
        total = self.remembered + order[-1]
        self.remembered.copy_(torch.where(total < size, total, total % size + size))

    def _count(
        self,
        latents: Float[Tensor, "N D"],
        units: Int[Tensor, " N"],
        counts: Bool[Tensor, " N"],
        live: Bool[Tensor, ""],
    ) -> Float[Tensor, "N K"]:
        """The step's latents into the moving averages, where it is live; which of them have which code."""
        of_each = self._of_each_code(units, counts)
        self.counts.copy_(torch.where(live, self._averaged(self.counts, of_each.sum(0)), self.counts))
        return of_each

    def _of_each_code(self, units: Int[Tensor, " N"], counts: Bool[Tensor, " N"]) -> Float[Tensor, "N K"]:
        """1 where a latent that counts has that code, else 0."""
        codes = torch.arange(len(self.counts), device=units.device)
        return ((units[:, None] == codes) & counts[:, None]).float()

    def _averaged(self, average: Tensor, value: Tensor) -> Tensor:
        return self.settings.decay * average + (1 - self.settings.decay) * value

    def _begin(self, per_step: Int[Tensor, ""]) -> None:
        """The codebook by k-means of the memory; per_step: latents of a step that count."""
        known = self.memory[: int(self.remembered.clamp(max=len(self.memory)))]
        distinct = np.unique(known.cpu().numpy(), axis=0)
        codes = self.settings.codes
        if len(distinct) < codes:
            raise UserError(
                f"bottleneck.codes is {codes}, but only {len(distinct):,} different latents have been seen by the step "
                f"at which the codebook begins; bottleneck.codes={max(len(distinct) // 2, 2)}, a later "
                "bottleneck.quantise_from or more audio would work."
            )
        means = k_means(distinct, codes, np.random.default_rng(self.seed))
        self.codebook.weight.copy_(torch.from_numpy(means))
        shares = self._of_each_code(self.nearest(known), torch.ones_like(known[:, 0], dtype=torch.bool)).mean(0)
        self.counts.copy_(shares * per_step)
        self.replaced += 1
        self.ready.fill_(True)

    def _revive(self, step: int) -> Bool[Tensor, " K"]:
        """Codes that are hardly used become distinct latents of the memory, as far as there are; which ones did."""
        usual = self.counts.sum() / len(self.counts)
        dead = (self.counts < self.settings.revive_below * usual).nonzero()[:, 0].cpu().numpy()
        known = self.memory[: int(self.remembered.clamp(max=len(self.memory)))]
        distinct = np.unique(known.cpu().numpy(), axis=0) if len(dead) else known.cpu().numpy()
        dead = dead[: len(distinct)]
        chosen = np.random.default_rng([self.seed, step]).choice(len(distinct), len(dead), replace=False)
        revived = torch.zeros_like(self.counts, dtype=torch.bool)
        revived[dead] = True
        self.codebook.weight[dead] = torch.from_numpy(distinct[chosen]).to(self.memory.device)
        self.counts[dead] = usual
        self.replaced += revived
        return revived

    def follow(self, other: "Vqvae") -> None:
        replaced = (self.replaced != other.replaced)[:, None]
        self.codebook.weight.copy_(torch.where(replaced, other.codebook.weight, self.codebook.weight))

    # --- what is told of it -----------------------------------------------------------------------

    def codes_in_use(self) -> CodesInUse | None:
        """Of what a checkpoint holds, too; None as long as there is no codebook."""
        if not self.ready:
            return None
        return CodesInUse(self.codebook.weight.detach().cpu().numpy(), self._shares().cpu().numpy())

    def _shares(self) -> Float[Tensor, " K"]:
        """Of each code in all latents; NaN as long as there is no codebook."""
        return self.counts / self.counts.sum()

    def _figures(self) -> dict[str, Tensor]:
        """NaN, and so left out, where there is no codebook yet."""
        shares = self._shares()
        return {
            "perplexity": torch.special.entr(shares).sum().exp(),
            "codes_used": torch.where(self.ready, (shares > USED / len(shares)).sum(), torch.nan),
            "codes_revived": torch.where(self.ready, (self.replaced - 1).sum(), torch.nan),
            "code_norm": torch.where(self.ready, self.codebook.weight.detach().norm(dim=1).mean(), torch.nan),
        }

    def warning(self, rows: Sequence[dict[str, Any]]) -> str | None:
        known = [(row["step"], row["perplexity"]) for row in rows if "perplexity" in row]
        since = None  # the row since which every perplexity is too low
        for step, perplexity in reversed(known):
            if perplexity >= COLLAPSED_PERPLEXITY:
                break
            since = step
        if since is None or not known[-1][0] - since >= COLLAPSED_STEPS > known[-2][0] - since:  # it is told once
            return None
        return (
            f"The codebook has collapsed: its perplexity is {known[-1][1]:.2f} at step {known[-1][0]:,}, and has been "
            f"below {COLLAPSED_PERPLEXITY:g} for {COLLAPSED_STEPS:,} steps; bottleneck.normalise=true, a later "
            "bottleneck.quantise_from or a WaveNet that sees less of the past may help."
        )


class VqvaeEma(Vqvae):
    """The same, but each code is a moving average of its latents (van den Oord et al. 2017, appendix A.1).

    Without their Laplace smoothing, which would pull unused codes to the origin: a code without latents in a step
    stays.
    """

    learns_codes = False

    def __init__(self, settings: BottleneckSettings, in_channels: int, latent_hop: int, seed: int):
        super().__init__(settings, in_channels, latent_hop, seed)
        self.register_buffer("sums", torch.zeros(settings.codes, settings.channels))  # of each code's latents, likewise

    def _count(
        self,
        latents: Float[Tensor, "N D"],
        units: Int[Tensor, " N"],
        counts: Bool[Tensor, " N"],
        live: Bool[Tensor, ""],
    ) -> Float[Tensor, "N K"]:
        of_each = super()._count(latents, units, counts, live)
        sums = self._averaged(self.sums, of_each.T @ latents)
        self.sums.copy_(torch.where(live, sums, self.sums))
        moves = live & (of_each.sum(0) > 0)
        codebook = self.codebook.weight
        codebook.copy_(torch.where(moves[:, None], self.sums / self.counts[:, None], codebook))
        return of_each

    def _begin(self, per_step: Int[Tensor, ""]) -> None:
        super()._begin(per_step)
        self.sums.copy_(self.counts[:, None] * self.codebook.weight)

    def _revive(self, step: int) -> Bool[Tensor, " K"]:
        revived = super()._revive(step)
        sums = self.counts[:, None] * self.codebook.weight
        self.sums.copy_(torch.where(revived[:, None], sums, self.sums))
        return revived


def k_means(
    points: Float32[np.ndarray, "N D"], count: int, generator: np.random.Generator
) -> Float32[np.ndarray, "count D"]:
    """That many distinct means of distinct points, by Lloyd's iteration from k-means++.

    Arthur and Vassilvitskii 2007, "k-means++: the advantages of careful seeding". scipy's kmeans2 computes all
    distances anew for each mean that is drawn, and may return fewer.
    """
    points = points.astype(np.float64)
    means = np.empty((count, points.shape[1]))
    squares = np.full(len(points), np.inf)  # distance to the nearest mean so far
    for number in range(count):
        chances = squares / squares.sum() if number else None
        means[number] = points[generator.choice(len(points), p=chances)]
        squares = np.minimum(squares, np.square(points - means[number]).sum(1))
    first = means.astype(np.float32)
    for _ in range(KMEANS_ITERATIONS):
        nearest = (np.square(means).sum(1) - 2 * points @ means.T).argmin(1)
        order = np.argsort(nearest, kind="stable")
        found, starts = np.unique(nearest[order], return_index=True)
        counts = np.diff([*starts, len(points)])
        means[found] = np.add.reduceat(points[order], starts) / counts[:, None]
    means = means.astype(np.float32)
    return means if len(np.unique(means, axis=0)) == count else first
