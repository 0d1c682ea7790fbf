"""The settings of an autoencoder: the encoder from frames to latents, and the bottleneck that these pass.

Both are "none" for the MFCC inverter, whose WaveNet is conditioned on the frames themselves.
"""

from dataclasses import dataclass

from mfcc_wavenet.config.errors import UserError, at_least, at_most, one_of

KINDS = ("none", "ae", "vae", "vqvae", "vqvae-ema")
MIN_CODES, MAX_CODES = 2, 2**16  # units are stored in 16 bits


@dataclass(frozen=True)
class EncoderSettings:
    """Convolutions over frames, without padding; none: the frames themselves condition the decoder."""

    channels: int  # of every layer
    kernel_sizes: tuple[int, ...]  # of the layers, each in vectors of the layer before it
    strides: tuple[int, ...]  # their product is the number of frames from one latent to the next

    def __post_init__(self):
        at_least(1, "encoder", "channels", self.channels)
        if len(self.strides) != len(self.kernel_sizes):
            raise UserError(
                f"encoder.strides has {len(self.strides)} entries and encoder.kernel_sizes {len(self.kernel_sizes)}; "
                "every layer needs one of each."
            )
        if min(self.strides, default=1) < 1:
            raise UserError(f"encoder.strides is {list(self.strides)}; it takes numbers from 1 on.")
        for stride, kernel_size in zip(self.strides, self.kernel_sizes):
            if stride > kernel_size:
                raise UserError(
                    f"encoder.kernel_sizes has {kernel_size} for the stride {stride}; a kernel shorter than its stride "
                    "would never see some of the frames."
                )


@dataclass(frozen=True)
class BottleneckSettings:
    """What limits the information in the latents. Which settings count depends on the kind."""

    kind: str  # one of KINDS
    channels: int  # of a latent
    codes: int  # vqvae and vqvae-ema: vectors in the codebook
    commitment: float  # weight of the mean squared distance of a latent from its code
    decay: float  # of the moving averages of codes, and of how often each is used, per step
    normalise: bool  # latents to mean 0 and deviation 1 over their channels before they are compared with the codes
    quantise_from: int  # steps before which latents pass as they are; then the codebook is initialised by k-means
    memory: int  # latest latents that are kept, for k-means and revival
    revive_below: float  # of 1 / codes: a code that is used less is replaced by a latent; 0: never
    revive_interval: int  # steps between two looks at that; 0: never
    revive_until: int  # the step after which codes stay, however little they are used
    free_bits: float  # vae: divergence per latent that costs nothing, bits
    anneal_steps: int  # vae: in which the weight of the divergence rises from 0 to 1
    norm_weight: float  # ae: of the mean distance of a latent's norm from 1

    def __post_init__(self):
        one_of(KINDS, "bottleneck", "kind", self.kind)
        at_least(1, "bottleneck", "channels", self.channels)
        at_least(MIN_CODES, "bottleneck", "codes", self.codes)
        at_most(MAX_CODES, "bottleneck", "codes", self.codes)
        if self.decay >= 1:
            raise UserError(f"bottleneck.decay is {self.decay}; it must be at least 0 and less than 1.")
        if self.revive_below > 1:
            raise UserError(
                f"bottleneck.revive_below is {self.revive_below}, a part of 1 / codes; it must be at most 1."
            )
        if self.has_codes and self.codes > self.memory:
            raise UserError(
                f"bottleneck.codes is {self.codes}, but bottleneck.memory is {self.memory}; the codebook begins as "
                "latents in memory, so this must be at least as many."
            )
        if self.normalise and not self.has_codes and self.kind != "none":
            raise UserError(
                f"bottleneck.normalise is true, but bottleneck.kind is {self.kind}, whose penalty is of the latents' "
                "size; bottleneck.normalise=false would work."
            )
        if self.normalise and self.channels == 1 and self.has_codes:
            raise UserError(
                "bottleneck.normalise is true and bottleneck.channels is 1, so every latent would be 0; more channels "
                "or bottleneck.normalise=false would work."
            )

    @property
    def has_codes(self) -> bool:
        """Whether latents are quantised, so that each is one integer, its unit."""
        return self.kind in ("vqvae", "vqvae-ema")
