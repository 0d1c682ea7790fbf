"""Cached generation: the network one sample at a time, every hidden vector computed once.

Full convolutions recompute the past for each new sample. Here every layer keeps its last inputs in
a ring (Paine et al. 2016, "Fast WaveNet generation algorithm"), so a sample costs each weight one
multiplication. Conditioning does not depend on what is generated, and is computed ahead, a few hops at a time.
The loop over samples itself is in kernel.py.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch.nn import functional

from mfcc_wavenet.geometry import Span
from mfcc_wavenet.inverter import MfccInverter
from mfcc_wavenet.kernel import Memory, Weights, sample
from mfcc_wavenet.mulaw import code_type, silence
from mfcc_wavenet.products import LANES, PANEL, pack
from mfcc_wavenet.windows import inside

# Hops whose frames are upsampled at once. A frame's wide layers cost the same for one frame as for several,
# and a stream is late by the block: four hops take most of the gain for 30 ms.
BLOCK_HOPS = 4
FEW = 6  # utterances; fewer are done sooner one after another than side by side
WORTH_A_TEAM = 100_000  # weights between two meetings: with fewer, threads would wait more than they work


class Generator:
    """The weights of a model, laid out for the loop; one can generate any number of utterances."""

    def __init__(self, model: MfccInverter):
        self.model = model
        wavenet = model.wavenet
        layers = list(wavenet.layers)
        kernel_size, channels = layers[0].kernel_size, wavenet.embedding.embedding_dim
        taps, gate_channels = kernel_size * channels, wavenet.skip.in_features // len(layers)
        dilations = np.array([layer.dilation for layer in layers])
        rings = (kernel_size - 1) * dilations
        residuals = [layer.residual for layer in layers[:-1]]
        gates = torch.stack([_in_turns(layer.gate.weight) for layer in layers])  # layers, 2GP, columns
        self.slots = int(rings.sum())
        self.weights = Weights(
            embedding=_array(wavenet.embedding.weight),
            conditioning=pack(_array(gates[..., taps:])),
            gates=pack(_array(gates[..., :taps])),
            gate_biases=_array(torch.stack([_in_turns(layer.gate.bias) for layer in layers])),
            residuals=pack(_stacked([residual.weight for residual in residuals], (channels, gate_channels))),
            residual_biases=_padded(_stacked([residual.bias for residual in residuals], (channels,))),
            skip=pack(_array(wavenet.skip.weight)),
            skip_bias=_padded(_array(wavenet.skip.bias)),
            post=pack(_array(wavenet.post.weight)),
            post_bias=_padded(_array(wavenet.post.bias)),
            logits=pack(_array(wavenet.logits.weight)),
            logits_bias=_padded(_array(wavenet.logits.bias)),
            dilations=dilations,
            ring_starts=np.cumsum(rings) - rings,
        )

    def generate(
        self,
        frames: Float[np.ndarray, "F K"],
        speaker: int,
        samples: int,
        temperature: float = 0.0,
        seed: int = 0,
        top_k: int = 0,
    ) -> Integer[np.ndarray, " samples"]:
        """The codes of one utterance, from its normalised frames (F, K) alone; the last three are Voices'."""
        return self.generate_all([frames], [speaker], [samples], temperature, seed, top_k)[0]

    def generate_all(
        self,
        frames: Sequence[Float[np.ndarray, "_ K"]],
        speakers: Sequence[int],
        samples: Sequence[int],
        temperature: float = 0.0,
        seed: int = 0,
        top_k: int = 0,
        progress: Callable[[int], object] = lambda samples: None,
    ) -> list[Integer[np.ndarray, " _"]]:
        """The codes of each of any number of utterances: what generate() gives, in less time.

        progress is told how many more samples there are, again and again, and never by two threads at once.
        """
        # Side by side, the shorter ones wait for the longest.
        order = sorted(range(len(frames)), key=lambda utterance: samples[utterance])
        size = 1 if len(order) < FEW else LANES
        groups = [order[first : first + size] for first in range(0, len(order), size)]
        codes = [np.empty(length, code_type(len(self.weights.embedding))) for length in samples]
        given_up, telling = threading.Event(), threading.Lock()

        def speak(group: list[int]) -> None:
            ends = [samples[utterance] for utterance in group]
            voices = Voices(self, [speakers[utterance] for utterance in group], temperature, seed, top_k)
            for stop in self.stops(0, max(ends)):
                begin = voices.spoken
                pieces = voices.speak(
                    [min(stop, end) for end in ends], lambda stream, span: _within(frames[group[stream]], span)
                )
                for utterance, piece in zip(group, pieces):
                    codes[utterance][begin : begin + len(piece)] = piece
                with telling:
                    progress(sum(map(len, pieces)))
                if given_up.is_set():
                    return

        if self.team > 1 or len(groups) == 1:
            list(map(speak, groups))
            return codes
        # Each has a thread to itself: the loop lets go of the interpreter.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            try:
                list(pool.map(speak, groups))
            except BaseException:  # Ctrl-C does not have to wait for the end of an utterance
                given_up.set()
                pool.shutdown(cancel_futures=True)
                raise
        return codes

    def stops(self, spoken: int, samples: int) -> list[int]:
        """Where the blocks end in which an utterance is spoken, from the sample spoken on."""
        block = BLOCK_HOPS * self.model.geometry.hop_length
        return [*range(spoken + block, samples, block), samples]

    @property
    def team(self) -> int:
        """Threads that are worth their while: they share out the rows of every product, and meet after each."""
        weights = sum(array.size for array in self.weights if array.ndim > 2)
        return torch.get_num_threads() if weights / (2 * len(self.weights.dilations)) >= WORTH_A_TEAM else 1

    @torch.no_grad()
    def conditioning(self, frames: Float[np.ndarray, "F K"], speaker: int, samples: Span) -> Float[np.ndarray, "T C"]:
        """What the network is told at each sample of a span; frames: those of geometry.frame_span(samples)."""
        geometry = self.model.geometry
        device = next(self.model.parameters()).device
        conditioning = self.model.conditioning(
            torch.from_numpy(frames)[None].to(device),
            torch.tensor([samples[0] - geometry.upsampled_span(geometry.frame_span(samples))[0]]),
            samples[1] - samples[0],
            torch.tensor([speaker], device=device),
        )
        return conditioning[0].cpu().numpy()


class Voices:
    """Utterances in the making, in lock-step: what the network remembers of each.

    They are spoken in the same blocks whether their frames are all there or still arriving; so both ways
    compute the same products, and give the same codes to the last bit.
    """

    def __init__(
        self,
        generator: Generator,
        speakers: Sequence[int],
        temperature: float = 0.0,
        seed: int = 0,
        top_k: int = 0,
        team: int | None = None,
    ):
        """temperature 0 takes the most likely code each time; above, codes are drawn from the softmax of
        logits / temperature, of the top_k most likely ones (0: of all), by a generator for each that the seed starts.

        speakers: of 1 to LANES utterances; team: threads, by default as many as are worth their while.
        """
        weights = generator.weights
        layers, channels = len(weights.dilations), weights.embedding.shape[1]
        taps, gate_rows = weights.gates.shape[2], weights.gates.shape[1] * PANEL
        self.generator = generator
        self.speakers = speakers
        self.lanes = lanes = 1 if len(speakers) == 1 else LANES
        self.team = team or generator.team
        self.choice = np.float32(temperature), top_k
        self.randoms = [np.random.default_rng(seed) for _ in speakers]
        self.spoken = 0  # samples
        self.last = np.full(lanes, silence(len(weights.embedding)))
        self.memory = Memory(
            rings=np.zeros((generator.slots, channels * lanes), np.float32),
            taps=np.zeros((taps + PANEL) * lanes, np.float32),
            ahead=np.zeros((LANES, layers, gate_rows), np.float32),
            ahead_lanes=np.zeros(gate_rows * LANES, np.float32),
            both=np.zeros(gate_rows * lanes, np.float32),
            powers=np.zeros(gate_rows * lanes, np.int32),
            gated=np.zeros((layers, weights.skip.shape[1] // layers * lanes), np.float32),
            hidden=np.zeros(len(weights.skip_bias) * lanes, np.float32),
            hidden_post=np.zeros(len(weights.post_bias) * lanes, np.float32),
            logits=np.zeros(len(weights.logits_bias) * lanes, np.float32),
            arrivals=np.zeros(1, np.int64),
        )

    def speak(
        self, stops: Sequence[int], frames_of: Callable[[int, Span], Float[np.ndarray, "F K"]]
    ) -> list[Int[np.ndarray, " codes"]]:
        """The codes of each, from where all stand to its stop; frames_of(stream, span) gives normalised frames.

        All go on from the furthest stop: one whose stop is nearer has come to its end.
        """
        generator, geometry = self.generator, self.generator.model.geometry
        # In front of the first sample there is silence by definition, which has to pass through the network once.
        first, stop = self.spoken or geometry.input_span((0, 1))[0], max(stops)
        going_on = {stream: (first, end) for stream, end in enumerate(stops) if end > self.spoken}
        frames = [frames_of(stream, geometry.frame_span(span)) for stream, span in going_on.items()]
        speakers = [self.speakers[stream] for stream in going_on]
        codes = np.zeros((self.lanes, stop - first), np.int64)
        draws = np.zeros(codes.shape)
        for stream, random in enumerate(self.randoms):
            draws[stream, self.spoken - first :] = random.random(stop - self.spoken)
        with ThreadPoolExecutor(self.team) as pool:
            each = pool.map if self.team > 1 else map
            told = dict(zip(going_on, each(generator.conditioning, frames, speakers, going_on.values())))
            work = partial(
                sample, codes, self.last, first, self._side_by_side(told, stop - first), draws, *self.choice,
                generator.weights, self.memory,
            )  # fmt: skip
            list(each(work, range(self.team), repeat(self.team)))
        self.last = codes[:, -1].copy()
        spoken, self.spoken = self.spoken, stop
        return [codes[stream, spoken - first : max(end, spoken) - first] for stream, end in enumerate(stops)]

    def _side_by_side(self, told: dict[int, Float[np.ndarray, "_ C"]], positions: int) -> np.ndarray:
        """The conditioning of several streams as (positions, C * LANES), of one as (positions / LANES, ...)."""
        channels = self.generator.weights.conditioning.shape[2]
        if self.lanes == 1:
            padded = np.zeros((-(-positions // LANES) * LANES, channels), np.float32)
            padded[:positions] = told[0]
            return np.ascontiguousarray(padded.reshape(-1, LANES, channels).swapaxes(1, 2)).reshape(
                -1, channels * LANES
            )
        lanes = np.zeros((positions, channels, LANES), np.float32)
        for stream, conditioning in told.items():
            lanes[: len(conditioning), :, stream] = conditioning
        return lanes.reshape(positions, -1)


def _within(frames: Float[np.ndarray, "F K"], span: Span) -> Float[np.ndarray, "frames K"]:
    """Those of a span; beyond an end, the edge frame again."""
    return frames[inside(span, len(frames))]


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())


def _stacked(tensors: list[torch.Tensor], shape: tuple[int, ...]) -> np.ndarray:
    """(number, *shape), also where there are none."""
    return _array(torch.stack(tensors)) if tensors else np.zeros((0, *shape), np.float32)


def _padded(biases: Float[np.ndarray, "*many R"]) -> Float[np.ndarray, "*many panels"]:
    """With zeros to whole panels."""
    missing = -biases.shape[-1] % PANEL
    return np.pad(biases, [(0, 0)] * (biases.ndim - 1) + [(0, missing)])


def _in_turns(gate: torch.Tensor) -> torch.Tensor:
    """(2G, ...), filters and then gates, to (2GP, ...): in turns, half a panel of each, filled up with zeros.

    What the loop needs of them is e^-2x and e^-x, so the factors are in the weights; neither costs a bit.
    """
    filters, gates = gate.chunk(2)
    missing = -len(filters) % (PANEL // 2)
    halves = functional.pad(torch.stack([-2 * filters, -gates]), (0, 0) * (gate.ndim - 1) + (0, missing))
    return halves.unflatten(1, (-1, PANEL // 2)).transpose(0, 1).flatten(0, 2)
