"""Frames and samples belong together as the network itself puts them together."""

import dataclasses
from dataclasses import replace
from math import prod

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from support.architectures import DRAWN, FEATURES, NO_ENCODER, PLAIN, examples, random_type_checks

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import EncoderGeometry, Geometry
from mfcc_wavenet.config.settings import UpsamplingSettings, WavenetSettings
from mfcc_wavenet.models.upsampling import Upsampling

pytestmark = random_type_checks

SAMPLES = st.tuples(st.integers(-100, 300), st.integers(1, 60)).map(lambda span: (span[0], span[0] + span[1]))

NO_ENCODERS = st.just(EncoderGeometry())


@st.composite
def encoders(draw) -> EncoderGeometry:
    strides = tuple(draw(st.lists(st.integers(1, 3), max_size=4)))
    return EncoderGeometry(tuple(stride + draw(st.integers(0, 3)) for stride in strides), strides)


@st.composite
def geometries(draw, odd_kernels=False, encoders=NO_ENCODERS) -> Geometry:
    encoder, hop_length = draw(encoders), draw(st.integers(1, 5))
    if encoder.strides:  # of which the upsampling undoes each, and the hop
        strides = tuple(draw(st.permutations([hop_length, *encoder.strides])))
        return replace(draw(geometries()), hop_length=hop_length, strides=strides, encoder=encoder,
                       kernel_sizes=tuple(stride + draw(st.integers(0, 9)) for stride in strides))  # fmt: skip
    frame_kernel_size = st.sampled_from([1, 3, 5] if odd_kernels else [1, 2, 3, 4, 5])
    beyond_stride = st.integers(0, 9)
    strides = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    return Geometry(
        hop_length=prod(strides),
        frame_kernel_sizes=(draw(frame_kernel_size),) * draw(st.integers(0, 2)),
        strides=strides,
        kernel_sizes=tuple((stride + draw(beyond_stride)) | odd_kernels for stride in strides),
        dilations=tuple(2**layer for layer in range(draw(st.integers(1, 6)))) * draw(st.integers(1, 3)),
        kernel_size=draw(st.integers(2, 4)),
    )


def covers(outer: tuple[int, int], inner: tuple[int, int]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


# ---------------------------------------------------------------------------------------- the past


@examples(100)
@given(geometry=geometries())
def test_receptive_field_is_what_the_taps_reach(geometry):
    """Followed backwards through all taps, the prediction of sample 0 arrives at these codes and no others.

    That position t reads code t - 1 is where the last 1 comes from.
    """
    positions = {0}
    for dilation in geometry.dilations:
        positions = {at - tap * dilation for at in positions for tap in range(geometry.kernel_size)}
    codes = {position - 1 for position in positions}
    assert codes == set(range(-geometry.receptive_field, 0))


@pytest.mark.parametrize(("layers", "receptive_field"), [(6, 127), (10, 2047)])
def test_receptive_fields_that_are_written_down(layers, receptive_field):
    assert geometry_of(blocks=2, layers_per_block=layers, kernel_size=2).receptive_field == receptive_field


# ------------------------------------------------------------------------------- frames to samples


@examples(100)
@given(geometry=geometries(), samples=SAMPLES)
def test_frame_span_is_what_the_network_needs(geometry, samples):
    """One impulse per frame through the network, all weights 1: which samples feel it is what the spans say."""
    span = geometry.latent_span(samples)
    frame_channels, frame_kernel_size = (
        (1,) * len(geometry.frame_kernel_sizes),
        max(geometry.frame_kernel_sizes, default=1),
    )
    settings = UpsamplingSettings(
        frame_channels,
        frame_kernel_size,
        geometry.strides,
        geometry.kernel_sizes,
        1,
        jitter=0.0,
        **DRAWN,
    )
    upsampling = Upsampling(settings, in_channels=1)
    for name, parameter in upsampling.named_parameters():
        torch.nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    impulses = torch.eye(span[1] - span[0])[:, :, None]  # one item per frame, and the impulse in that frame
    with torch.no_grad():
        felt = upsampling(impulses)[:, :, 0] > 0  # frames, samples
    times = range(*geometry.upsampled_span(span))
    assert felt.shape[1] == len(times)
    for t in range(*samples):
        frames = felt[:, times.index(t)].nonzero()[:, 0] + span[0]
        assert frames.tolist() == list(range(*geometry.latent_span((t, t + 1))))


@examples(100)
@given(geometry=geometries(), samples=SAMPLES)
def test_frame_span_is_just_enough(geometry, samples):
    """upsampled_span undoes frame_span; with one frame less, at either end, a sample is missing."""
    start, stop = geometry.latent_span(samples)
    assert covers(geometry.upsampled_span((start, stop)), samples)
    assert not covers(geometry.upsampled_span((start + 1, stop)), samples)
    assert not covers(geometry.upsampled_span((start, stop - 1)), samples)


@examples(50)
@given(geometry=geometries(encoders=encoders()), samples=SAMPLES, hops=st.integers(-20, 20))
def test_one_hop_later_is_one_latent_later(geometry, samples, hops):
    later = tuple(t + hops * geometry.latent_hop for t in samples)
    assert geometry.latent_span(later) == tuple(frame + hops for frame in geometry.latent_span(samples))


@examples(50)
@given(geometry=geometries(odd_kernels=True), frame=st.integers(-5, 5))
def test_a_frame_is_felt_around_its_centre(geometry, frame):
    """Kernels of odd length have a middle: then as far before frame * hop_length as after it."""
    reach = range(-500, 501)
    centre = frame * geometry.hop_length
    spans = [geometry.latent_span((centre + lag, centre + lag + 1)) for lag in reach]
    lags = [lag for lag, (start, stop) in zip(reach, spans) if start <= frame < stop]
    assert lags and lags[0] == -lags[-1]


@examples(50)
@given(geometry=geometries(encoders=encoders()))
def test_lookahead_is_the_furthest_that_any_sample_looks(geometry):
    hop = geometry.latent_hop
    frames = {t: geometry.encoder.frame_span(geometry.latent_span((t, t + 1))) for t in range(-2 * hop, 3 * hop)}
    ahead = max(stop - 1 - t // geometry.hop_length for t, (_, stop) in frames.items())
    assert ahead == geometry.lookahead_frames


@examples(50)
@given(geometry=geometries(), frames=st.integers(2, 1000))
def test_number_of_samples_is_the_fewest_with_that_many_frames(geometry, frames):
    samples = geometry.samples_of(frames)
    assert geometry.frames_of(samples) == frames > geometry.frames_of(samples - 1)


@examples(50)
@given(geometry=geometries(encoders=encoders()), start=st.integers(-200, 200), length=st.integers(1, 80))
def test_windows_stack(geometry, start, length):
    """At any start as many frames and as many latents, and they suffice for every input of the window."""
    counts = set()
    for t in range(start, start + 2 * geometry.latent_hop):
        samples = (t, t + length)
        latents, frames = geometry.window_latent_span(samples), geometry.window_frame_span(samples)
        counts.add((latents[1] - latents[0], frames[1] - frames[0]))
        assert covers(geometry.upsampled_span(latents), geometry.input_span(samples))
        assert geometry.encoder.latent_span(frames) == latents
    assert len(counts) == 1


@examples(100)
@given(geometry=geometries(encoders=encoders()), length=st.integers(1, 300), data=st.data())
def test_a_window_of_an_utterance_has_a_latent_of_it(geometry, length, data):
    """With an encoder: what stands in beyond an end is in the window, however far it sticks out."""
    samples = data.draw(st.integers(1, 80))
    start = data.draw(st.integers(1 - samples, length - 1))
    first, stop = geometry.window_latent_span((start, start + samples))
    count = geometry.encoder.latents_of(geometry.frames_of(length))
    if geometry.encoder.strides:
        assert first < count and stop > 0


# ----------------------------------------------------------------------------------- frames to latents


@examples(100)
@given(encoder=encoders(), start=st.integers(-50, 50), count=st.integers(1, 20))
def test_latents_need_their_frames_and_no_others(encoder, start, count):
    """An impulse per frame through convolutions of ones: the frames of a span of latents are those that it feels."""
    latents = (start, start + count)
    frames = encoder.frame_span(latents)
    x = torch.eye(frames[1] - frames[0])[:, None]
    for kernel_size, stride in zip(encoder.kernel_sizes, encoder.strides):
        x = torch.nn.functional.conv1d(x, torch.ones(1, 1, kernel_size), stride=stride)
    felt = x[:, 0] > 0  # frames, latents
    assert felt.shape[1] == count
    for latent in range(*latents):
        of_one = range(*encoder.frame_span((latent, latent + 1)))
        assert (
            (felt[:, latent - start].nonzero()[:, 0] + frames[0]).tolist()
            == [frame for frame in range(*frames) if frame in of_one]
            == list(of_one)
        )
    assert frames[1] - frames[0] == (count - 1) * encoder.stride + encoder.receptive_field


@examples(100)
@given(encoder=encoders(), start=st.integers(-50, 50), count=st.integers(1, 20))
def test_latent_span_undoes_frame_span(encoder, start, count):
    """With one frame less, at either end, a latent is missing."""
    latents = (start, start + count)
    first, stop = encoder.frame_span(latents)
    assert encoder.latent_span((first, stop)) == latents
    assert not covers(encoder.latent_span((first + 1, stop)), latents)
    assert not covers(encoder.latent_span((first, stop - 1)), latents)


@examples(100)
@given(geometry=geometries(encoders=encoders()), samples=st.integers(1, 3000))
def test_latents_cover_their_utterance(geometry, samples):
    """Each stands at a frame of it, and every sample is within a hop of one."""
    frames = geometry.frames_of(samples)
    count = geometry.encoder.latents_of(frames)
    assert (count - 1) * geometry.encoder.stride < frames <= count * geometry.encoder.stride
    assert count * geometry.latent_hop >= samples


def test_latents_that_are_written_down():
    """Of the encoder of Chorowski et al., at 50 and at 25 Hz, and of the two upsamplings."""
    strides = (1, 1, 2, 1, 1, 1, 1, 1, 1)
    fifty = EncoderGeometry((3, 3, 4, 3, 3, 1, 1, 1, 1), strides)
    assert (fifty.stride, fifty.receptive_field, fifty.frame_span((5, 6))) == (2, 16, (3, 19))
    both = EncoderGeometry((3, 3, 4, 4, 3, 3, 1, 1, 1), (1, 1, 2, 2, 1, 1, 1, 1, 1))
    assert (both.stride, both.receptive_field) == (4, 30)
    dilations = tuple(2**layer for layer in range(10)) * 2
    paper = Geometry(160, (3,), (5, 4, 4, 4), (25, 16, 16, 16), dilations, 2, encoder=fifty)
    units = Geometry(160, (3,), (16, 20), (32, 40), (1, 2, 4, 8, 16, 32) * 2, 2, encoder=fifty)
    spans = [(span[1] - span[0]) for span in (paper.window_latent_span((0, 5120)), paper.window_frame_span((0, 5120)))]
    assert (paper.receptive_field, spans, paper.lookahead_frames) == (2047, [31, 76], 16)
    spans = [(span[1] - span[0]) for span in (units.window_latent_span((0, 1000)), units.window_frame_span((0, 1000)))]
    assert (units.receptive_field, spans, units.lookahead_frames) == (127, [8, 30], 12)


# ---------------------------------------------------------------------------------- contradictions


@examples(100)
@given(geometry=geometries(), sample=st.integers(-100, 300))
def test_the_nearest_frame_is_the_nearest(geometry, sample):
    """Its centre; of two the earlier one. It is among the frames of the sample, if the model predicts linearly."""
    centres = {frame: frame * geometry.hop_length for frame in range(-110, 310)}
    nearest = min(centres, key=lambda frame: (abs(centres[frame] - sample), frame))
    assert geometry.nearest_frame(sample) == nearest
    predicting = dataclasses.replace(geometry, prediction_order=4)
    span = predicting.latent_span((sample, sample + 1))
    assert covers(span, geometry.latent_span((sample, sample + 1))) and covers(span, (nearest, nearest + 1))
    assert nearest <= sample // geometry.hop_length + predicting.lookahead_frames


def geometry_of(**changes) -> Geometry:
    """The geometry of settings that are sound but for the changes."""
    groups = [
        FEATURES,
        replace(NO_ENCODER, **changes.pop("encoder", {})),
        UpsamplingSettings((4,), 3, strides=(4, 4), kernel_sizes=(4, 8), channels=4, jitter=0.0, **DRAWN),
        WavenetSettings(256, 4, 4, 4, 4, blocks=2, layers_per_block=3, kernel_size=2, speaker_channels=0, **PLAIN),
    ]
    known = [{field.name for field in dataclasses.fields(group)} for group in groups]
    fitting = [{name: changes[name] for name in names & changes.keys()} for names in known]
    return Geometry.of(*(dataclasses.replace(group, **some) for group, some in zip(groups, fitting)))


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ({"strides": (4, 5), "kernel_sizes": (4, 8)}, ["upsampling.strides [4, 5]", "20", "hop_length", "16"]),
        ({"hop_length": 20}, ["upsampling.strides [4, 4]", "16", "features.hop_length", "20"]),
        (
            {"prediction": "lpc", "prediction_order": 33},
            ["wavenet.prediction_order", "33", "features.n_fft", "64", "32"],
        ),
        (
            {"encoder": {"kernel_sizes": (3,), "strides": (2,)}},
            ["upsampling.strides [4, 4]", "16", "features.hop_length 16", "encoder.strides [2]", "32 samples"],
        ),
        (
            {"encoder": {"kernel_sizes": (3,), "strides": (1,)}, "prediction": "lpc"},
            ["wavenet.prediction is lpc", "encoder.strides is [1]", "encoder=none"],
        ),
        (
            {"encoder": {"kernel_sizes": (3,), "strides": (1,)}, "frame_whitening": True},
            ["upsampling.frame_whitening is true", "encoder.strides=[1]", "frame_whitening=false"],
        ),
    ],
)
def test_a_contradiction_between_groups_is_one_sentence(mistake, named):
    with pytest.raises(UserError) as error:
        geometry_of(**mistake)
    sentence = str(error.value)
    assert all(word in sentence for word in named)
    assert sentence.endswith(".") and ". " not in sentence and "\n" not in sentence


def test_geometry_is_a_value():
    """Equal settings give equal, hashable geometries that nothing changes afterwards."""
    assert geometry_of() == geometry_of() and hash(geometry_of()) == hash(geometry_of())
    with pytest.raises(dataclasses.FrozenInstanceError):
        geometry_of().hop_length = 1
