"""Cached generation: the network one sample at a time, every hidden vector computed once.

Full convolutions recompute the past for each new sample. Here every layer keeps its last inputs in
a ring (Paine et al. 2016, "Fast WaveNet generation algorithm"), so a sample costs each weight one
multiplication. Conditioning does not depend on what is generated, and is computed ahead, a few hops at a time.
The loop over samples itself is in cpu/sample_loop.py.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat

import numpy as np
import torch
from jaxtyping import Float, Int, Integer

from mfcc_wavenet.config.geometry import Span, clamped_indices
from mfcc_wavenet.data.mulaw import code_type, silence
from mfcc_wavenet.generation.cpu.barrier import share
from mfcc_wavenet.generation.cpu.conditioning import Conditioner
from mfcc_wavenet.generation.cpu.gemm import PANEL
from mfcc_wavenet.generation.cpu.packed_weights import lay_out
from mfcc_wavenet.generation.cpu.sample_loop import Memory, sample
from mfcc_wavenet.models.mfcc_inverter import MfccInverter
from mfcc_wavenet.models.wavenet import WaveNet

# Hops whose frames are upsampled at once. A frame's wide layers cost the same for one frame as for several,
# and a stream is late by the block: four hops take most of the gain for 30 ms.
BLOCK_HOPS = 4
STREAMS = 16  # utterances side by side, at most: more share no more of what is read
LOOK_AHEAD = 16  # positions of all streams whose conditioning goes through its product together
WORTH_A_TEAM = 100_000  # weights between two meetings: with fewer, threads would wait more than they work


class Generator:
    """The weights of a model, laid out for the loop; one can generate any number of utterances."""

    def __init__(self, model: MfccInverter, team: int | None = None):
        """team: threads that work on the same utterances, by default as many as are worth their while."""
        self.model = model
        self.team = team or _worth_their_while(model.wavenet)
        self.conditioner = Conditioner(model)
        self.weights = [lay_out(model.wavenet, rank, self.team) for rank in range(self.team)]

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
        groups = self._groups(samples)
        codes = [np.empty(length, code_type(self.model.wavenet.embedding.num_embeddings)) for length in samples]
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

    def _groups(self, samples: Sequence[int]) -> list[list[int]]:
        """Which utterances are spoken side by side: similar ones, since the shorter ones wait for the longest."""
        order = sorted(range(len(samples)), key=lambda utterance: samples[utterance], reverse=True)
        at_once = 1 if self.team > 1 else torch.get_num_threads()  # groups, if there are as many utterances
        groups = min(-(-len(order) // (STREAMS * at_once)) * at_once, len(order))
        return [order[slice(*share(len(order), group, groups))] for group in range(groups)]

    def stops(self, spoken: int, samples: int) -> list[int]:
        """Where the blocks end in which an utterance is spoken, from the sample spoken on."""
        block = BLOCK_HOPS * self.model.geometry.hop_length
        return [*range(spoken + block, samples, block), samples]


class Voices:
    """Utterances in the making, in lock-step: what the network remembers of each.

    In whichever blocks they are spoken, they are the same to the last bit: whether their frames are all there or
    still arriving makes no difference.
    """

    def __init__(
        self,
        generator: Generator,
        speakers: Sequence[int],
        temperature: float = 0.0,
        seed: int = 0,
        top_k: int = 0,
    ):
        """temperature 0 takes the most likely code each time; above, codes are drawn from the softmax of
        logits / temperature, of the top_k most likely ones (0: of all), by a generator for each that the seed starts.

        speakers: of one utterance or of more.
        """
        self.generator = generator
        self.speakers = speakers
        self.choice = np.float32(temperature), top_k
        self.randoms = [np.random.default_rng(seed) for _ in speakers]
        self.spoken = 0  # samples
        streams, any_part = len(speakers), generator.weights[0]
        quantization_channels, padded_channels = any_part.embedding.shape
        self.last = np.full(streams, silence(quantization_channels))

        def rows(panels: str) -> int:
            """Of all threads."""
            return sum(getattr(part, panels).shape[-3] for part in generator.weights) * PANEL

        layers = len(any_part.dilations)
        self.memory = Memory(
            rings=np.zeros((any_part.ring_starts[-1], streams, padded_channels), np.float32),
            gated=np.zeros((streams, layers, rows("gates") // 2), np.float32),
            hidden=np.zeros((streams, rows("skip")), np.float32),
            hidden_post=np.zeros((streams, rows("post")), np.float32),
            logits=np.zeros((streams, rows("logits")), np.float32),
            arrivals=np.zeros(1, np.int64),
        )
        positions = max(LOOK_AHEAD // streams, 1)
        self.ahead = [
            np.zeros((positions * streams, layers, part.gates.shape[-3] * PANEL), np.float32)
            for part in generator.weights
        ]

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
        codes = np.zeros((len(self.speakers), stop - first), np.int64)
        draws = np.zeros(codes.shape)
        for stream, random in enumerate(self.randoms):
            draws[stream, self.spoken - first :] = random.random(stop - self.spoken)
        told = np.zeros((stop - first, len(self.speakers), generator.weights[0].conditioning.shape[1]), np.float32)
        team = generator.team
        with ThreadPoolExecutor(team) as pool:
            each = pool.map if team > 1 else map
            conditioning = each(generator.conditioner, frames, speakers, going_on.values())
            for stream, of_one in zip(going_on, conditioning):
                told[: len(of_one), stream] = of_one
            arguments = codes, self.last, first, told.reshape(-1, told.shape[-1]), draws, *self.choice
            work = partial(sample, *arguments)
            list(each(work, generator.weights, repeat(self.memory), self.ahead, range(team), repeat(team)))
        self.last = codes[:, -1].copy()
        spoken, self.spoken = self.spoken, stop
        return [codes[stream, spoken - first : max(end, spoken) - first] for stream, end in enumerate(stops)]


def _within(frames: Float[np.ndarray, "F K"], span: Span) -> Float[np.ndarray, "frames K"]:
    """Those of a span; beyond an end, the edge frame again."""
    return frames[clamped_indices(span, len(frames))]


def _worth_their_while(wavenet: WaveNet) -> int:
    """Threads that share out the rows of every product, and meet after each."""
    weights = sum(parameter.numel() for parameter in wavenet.parameters() if parameter.ndim > 1)
    return torch.get_num_threads() if weights / (2 * len(wavenet.layers)) >= WORTH_A_TEAM else 1
