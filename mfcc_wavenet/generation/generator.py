"""Batched cached generation: one sample at a time, every hidden vector computed once.

A full convolution recomputes the past for each new sample. Here every layer keeps its last inputs in a ring buffer
(Paine et al. 2016, "Fast WaveNet generation algorithm"), so that a sample costs one multiplication per weight. The
conditioning does not depend on what is generated, and is computed a few hops before it is needed. The loop over samples
itself is in cpu/sample_loop.py, or in gpu/sample_loop.cu; both compute in float32.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int, Integer

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.geometry import Span, clamped_indices
from mfcc_wavenet.data.linear_prediction import LinearPrediction
from mfcc_wavenet.data.mulaw import code_type, silence
from mfcc_wavenet.generation.cpu.barrier import partition
from mfcc_wavenet.generation.cpu.conditioning import Conditioner
from mfcc_wavenet.generation.cpu.encoder import PackedEncoder
from mfcc_wavenet.generation.cpu.gemm import PANEL
from mfcc_wavenet.generation.cpu.packed_weights import pack_embedding, pack_weights
from mfcc_wavenet.generation.cpu.sample_loop import Buffers, Prediction, sample_loop
from mfcc_wavenet.generation.cpu.threads import WorkerThreads
from mfcc_wavenet.generation.gpu.sample_loop import SampleLoop
from mfcc_wavenet.models.base import Model
from mfcc_wavenet.models.wavenet import WaveNet

# Hops whose latents are upsampled together. A wide layer at their rate costs the same for one of them as for several,
# and a stream is delayed by the block: four hops, of frames without an encoder, have most of the gain for 30 ms.
BLOCK_HOPS = 4
MAX_BATCH_SIZE = 16  # utterances on a CPU; with more, each gains nothing further from sharing the reads of the weights
MAX_PROJECTION_ROWS = 16  # positions times utterances in one gemm of the precomputed conditioning projection
MIN_WEIGHTS_PER_BARRIER = 100_000  # with fewer between two barriers, threads would wait for longer than they work
GREEDY = Sampling()
CPU = torch.device("cpu")


class Generator:
    """A model, packed for generation; one can generate any number of utterances.

    Its threads are started when they are first needed, and end when it is garbage-collected.
    """

    def __init__(
        self,
        model: Model,
        num_threads: int | None = None,
        linear_prediction: LinearPrediction | None = None,
        device: torch.device = CPU,
    ):
        """num_threads: threads that work on one batch together; None: torch's, or 1 where the network is too small.

        With 1, several batches are generated at the same time, each on one of torch's threads. linear_prediction: with
        the statistics that the model's frames are normalised by. device: where the loop over samples runs, a CPU or a
        CUDA device; on the latter, num_threads are those that prepare conditioning. ValueError where the model takes
        linear prediction and it is None, or the other way round; UserError where the device cannot generate the model.
        """
        embedding = model.wavenet.prediction
        if (embedding is None) != (linear_prediction is None):
            raise ValueError("linear_prediction must be given for a network that takes it, and for no other")
        self.model = model
        self.linear_prediction = linear_prediction
        self.prediction_embedding = None if embedding is None else pack_embedding(embedding)
        self.on_gpu = SampleLoop(model.wavenet, device) if device.type == "cuda" else None
        self.num_threads = num_threads or (
            torch.get_num_threads() if self.on_gpu else choose_num_threads(model.wavenet)
        )
        self.batches_at_once = 1 if self.on_gpu or self.num_threads > 1 else torch.get_num_threads()
        self.max_batch_size = self.on_gpu.max_batch_size if self.on_gpu else MAX_BATCH_SIZE
        self.threads = WorkerThreads(max(self.num_threads, self.batches_at_once))
        self.encoder = PackedEncoder(model)
        self.conditioner = Conditioner(model)
        self.conditioning_channels = len(model.upsampling.stages[-1].bias) + (
            0 if model.speaker is None else model.speaker.embedding_dim
        )
        threads = range(0 if self.on_gpu else self.num_threads)
        self.weights = [pack_weights(model.wavenet, thread_id, self.num_threads) for thread_id in threads]

    def generate(
        self, latents: Float[np.ndarray, "L C"], speaker: int, samples: int, sampling: Sampling = GREEDY
    ) -> Integer[np.ndarray, " samples"]:
        """The codes (samples,) of one utterance, from its latents alone: without an encoder, its normalised frames."""
        return self.generate_all([latents], [speaker], [samples], sampling)[0]

    def generate_all(
        self,
        latents: Sequence[Float[np.ndarray, "_ C"]],
        speakers: Sequence[int],
        samples: Sequence[int],
        sampling: Sampling = GREEDY,
        progress: Callable[[int], object] = lambda samples: None,
        finished: Callable[[int, Integer[np.ndarray, " _"]], object] = lambda index, codes: None,
        seeds: Sequence[int] | None = None,
    ) -> list[Integer[np.ndarray, " _"]]:
        """The codes of each of any number of utterances: the same as generate() of each, in less time.

        latents, speakers and samples have one entry per utterance, and so have seeds; None: all have that of sampling.
        progress is called with the number of samples that were added, after every block, and finished with the index
        and the codes of an utterance as soon as these are complete; neither by two threads at once.
        """
        seeds = [sampling.seed] * len(samples) if seeds is None else seeds
        codes = [np.empty(length, code_type(self.model.wavenet.embedding.num_embeddings)) for length in samples]
        for utterance, length in enumerate(samples):
            if not length:
                finished(utterance, codes[utterance])
        cancelled, reporting = threading.Event(), threading.Lock()

        def generate_batch(batch: list[int]) -> None:
            ends = [samples[utterance] for utterance in batch]
            of_batch = [speakers[utterance] for utterance in batch]
            state = StreamState(self, of_batch, sampling, [seeds[utterance] for utterance in batch])
            for block_end in self.block_ends(0, max(ends)):
                if cancelled.is_set():
                    return
                start = state.position
                blocks = state.generate(
                    [min(block_end, end) for end in ends], lambda index, span: _clamped(latents[batch[index]], span)
                )
                for utterance, block in zip(batch, blocks):
                    codes[utterance][start : start + len(block)] = block
                with reporting:
                    progress(sum(map(len, blocks)))
                    for utterance, block in zip(batch, blocks):
                        if len(block) and start + len(block) == samples[utterance]:
                            finished(utterance, codes[utterance])

        batches = self._batches(samples)
        if self.batches_at_once == 1 or len(batches) == 1:
            for batch in batches:
                generate_batch(batch)
            return codes
        tasks = []
        try:
            tasks += [self.threads.executor.submit(generate_batch, batch) for batch in batches]
            for task in tasks:
                task.result()
        except BaseException:  # Ctrl-C does not have to wait for the end of an utterance
            cancelled.set()
            raise
        finally:
            wait(tasks)
        return codes

    def generate_candidates(
        self,
        latents: Sequence[Float[np.ndarray, "_ C"]],
        speakers: Sequence[int],
        samples: Sequence[int],
        candidates: int,
        sampling: Sampling,
        progress: Callable[[int], object] = lambda samples: None,
        finished: Callable[[int, list[Integer[np.ndarray, " _"]]], object] = lambda index, codes: None,
    ) -> list[list[Integer[np.ndarray, " _"]]]:
        """Several candidates for the codes of each utterance: those of the seeds sampling.seed, sampling.seed + 1, ...

        They are streams of a batch, next to each other. Arguments as in generate_all; progress counts the candidates of
        an utterance as one, and finished is called when all of them are complete.
        """
        codes: list[list] = [[None] * candidates for _ in samples]
        missing = [candidates] * len(samples)
        generated = 0

        def progress_of_all(added: int) -> None:
            nonlocal generated
            before, generated = generated, generated + added
            progress(generated // candidates - before // candidates)

        def finished_one(stream: int, of_stream: Integer[np.ndarray, " _"]) -> None:
            utterance, candidate = divmod(stream, candidates)
            codes[utterance][candidate] = of_stream
            missing[utterance] -= 1
            if not missing[utterance]:
                finished(utterance, codes[utterance])

        of_streams = ([one for one in given for _ in range(candidates)] for given in (latents, speakers, samples))
        seeds = [sampling.seed + candidate for _ in samples for candidate in range(candidates)]
        self.generate_all(*of_streams, sampling, progress_of_all, finished_one, seeds)
        return codes

    def _batches(self, samples: Sequence[int]) -> list[list[int]]:
        """Utterances that are generated together: of similar lengths, since the shorter ones wait for the longest."""
        audible = [utterance for utterance, length in enumerate(samples) if length]
        order = sorted(audible, key=lambda utterance: samples[utterance], reverse=True)
        rounds = -(-len(order) // (self.max_batch_size * self.batches_at_once))
        batches = min(rounds * self.batches_at_once, len(order))
        return [order[slice(*partition(len(order), batch, batches))] for batch in range(batches)]

    def block_ends(self, start: int, stop: int) -> list[int]:
        """Where the blocks end that lead from sample start to sample stop."""
        block = BLOCK_HOPS * self.model.geometry.latent_hop
        return [*range(start + block, stop, block), stop]


class StreamState:
    """A batch of utterances that are generated in lock step: what the network remembers of each.

    The codes are the same to the last bit in whichever blocks they are generated, so it makes no difference whether the
    latents are all there or still arriving. They are batch-invariant.
    """

    def __init__(
        self,
        generator: Generator,
        speakers: Sequence[int],
        sampling: Sampling = GREEDY,
        seeds: Sequence[int] | None = None,
    ):
        """speakers: the index of each utterance's speaker; seeds: of its random numbers; None: that of sampling."""
        self.generator = generator
        self.speakers = speakers
        self.sampling = sampling
        self.position = 0  # samples that have been generated
        self.random = [np.random.default_rng(seed) for seed in seeds or [sampling.seed] * len(speakers)]
        order = generator.linear_prediction.order if generator.linear_prediction else 1
        quantization_channels = generator.model.wavenet.embedding.num_embeddings
        self.past = np.full((len(speakers), order), silence(quantization_channels))  # codes, those before position
        self.run = (generator.on_gpu.start if generator.on_gpu else partial(_OnCpu, generator))(len(speakers))

    def generate(
        self, ends: Sequence[int], latents_of: Callable[[int, Span], Float[np.ndarray, "L C"]]
    ) -> list[Int[np.ndarray, " _"]]:
        """The codes of each utterance from the common position to its own end.

        latents_of(index, span) returns the latents (L, C) of a span of latents of an utterance. Afterwards the position
        is the furthest end: an utterance whose end is nearer is complete.
        """
        generator, geometry = self.generator, self.generator.model.geometry
        # The silence before the first sample has to pass through the network once.
        first, stop = self.position or geometry.input_span((0, 1))[0], max(ends)
        spans = {index: (first, end) for index, end in enumerate(ends) if end > self.position}  # of the incomplete ones
        uniforms = np.zeros((len(ends), stop - first))
        for index, random in enumerate(self.random):
            uniforms[index, self.position - first :] = random.random(stop - self.position)
        conditioning = np.zeros((stop - first, len(ends), generator.conditioning_channels), np.float32)
        latents = [latents_of(index, geometry.latent_span(span)) for index, span in spans.items()]
        speakers = [self.speakers[index] for index in spans]
        parallel_map = generator.threads.executor.map if generator.num_threads > 1 else map
        upsampled = parallel_map(generator.conditioner, latents, speakers, spans.values())
        for index, of_utterance in zip(spans, upsampled):
            conditioning[: len(of_utterance), index] = of_utterance
        prediction = self._prediction((first, stop), dict(zip(spans, latents)))
        codes = self.run(self.past, first, conditioning, prediction, uniforms, self.sampling)
        # In the layout that it began with: for another one, the loop would be compiled again.
        self.past = np.ascontiguousarray(np.hstack([self.past, codes])[:, -self.past.shape[1] :])
        start, self.position = self.position, stop
        return [codes[index, start - first : max(end, start) - first] for index, end in enumerate(ends)]

    def _prediction(self, span: Span, frames: dict[int, Float[np.ndarray, "_ K"]]) -> Prediction | None:
        """For the positions of a span, from the frames of the incomplete utterances, by their indices."""
        linear_prediction, geometry = self.generator.linear_prediction, self.generator.model.geometry
        if linear_prediction is None:
            return None
        start, stop = geometry.nearest_frame(span[0]), geometry.nearest_frame(span[1] - 1) + 1
        coefficients = np.zeros((len(self.speakers), stop - start, linear_prediction.order))
        skipped = start - geometry.latent_span(span)[0]
        for index, of_utterance in frames.items():
            known = linear_prediction.coefficients(of_utterance[skipped : skipped + stop - start])
            coefficients[index, : len(known)] = known
        return Prediction(
            coefficients,
            geometry.nearest_frame(np.arange(*span)) - start,
            self.generator.prediction_embedding,
            linear_prediction.levels,
            linear_prediction.thresholds,
        )


class _OnCpu:
    """The state of a batch on the CPU: ring buffers, and workspace."""

    def __init__(self, generator: Generator, batch_size: int):
        self.generator = generator
        weights = generator.weights[0]
        layers = len(weights.dilations)

        def padded_rows(panels: str) -> int:
            """Of all threads."""
            return sum(getattr(own, panels).shape[-3] for own in generator.weights) * PANEL

        self.buffers = Buffers(
            ring_buffers=np.zeros((weights.ring_starts[-1], batch_size, weights.embedding.shape[1]), np.float32),
            gated=np.zeros((batch_size, layers, padded_rows("gates") // 2), np.float32),
            hidden=np.zeros((batch_size, padded_rows("skip")), np.float32),
            hidden_post=np.zeros((batch_size, padded_rows("post")), np.float32),
            logits=np.zeros((batch_size, padded_rows("logits")), np.float32),
            arrival_count=np.zeros(1, np.int64),
        )
        projection_rows = max(MAX_PROJECTION_ROWS // batch_size, 1) * batch_size
        self.projections = [  # of each thread
            np.zeros((projection_rows, layers, own.gates.shape[-3] * PANEL), np.float32) for own in generator.weights
        ]

    def __call__(
        self,
        past: Int[np.ndarray, "B order"],
        first: int,
        conditioning: Float[np.ndarray, "positions B D"],
        prediction: Prediction | None,
        uniforms: Float[np.ndarray, "B positions"],
        sampling: Sampling,
    ) -> Int[np.ndarray, "B positions"]:
        """The codes of the positions from first on, silence where that is negative; past: codes before those."""
        generator = self.generator
        codes = np.full(uniforms.shape, silence(len(generator.weights[0].embedding)))

        def run(thread_id: int) -> None:
            sample_loop(
                codes,
                past,
                first,
                conditioning.reshape(-1, conditioning.shape[-1]),
                prediction,
                generator.model.wavenet.classes != "differences",
                generator.model.wavenet.classes != "codes",
                uniforms,
                np.float32(sampling.temperature),
                sampling.top_k,
                generator.weights[thread_id],
                self.buffers,
                self.projections[thread_id],
                thread_id,
                generator.num_threads,
            )

        if generator.num_threads > 1:
            generator.threads.run_together(run)
        else:
            run(0)
        return codes


def _clamped(latents: Float[np.ndarray, "L C"], span: Span) -> Float[np.ndarray, "span C"]:
    """Those of a span; beyond an end, the latent at that end again."""
    return latents[clamped_indices(span, len(latents))]


def choose_num_threads(wavenet: WaveNet) -> int:
    """Torch's number of threads, or 1 if the gemms between two barriers are too small to be partitioned."""
    weights = sum(parameter.numel() for parameter in wavenet.parameters() if parameter.ndim > 1)
    barriers = 2 * len(wavenet.layers)
    return torch.get_num_threads() if weights / barriers >= MIN_WEIGHTS_PER_BARRIER else 1
