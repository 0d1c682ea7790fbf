"""Frames and samples belong together as the network itself puts them together."""

import dataclasses
from math import prod

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from support.architectures import DRAWN, FEATURES, PLAIN, examples, random_type_checks

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import UpsamplingSettings, WavenetSettings
from mfcc_wavenet.models.upsampling import Upsampling

pytestmark = random_type_checks

SAMPLES = st.tuples(st.integers(-100, 300), st.integers(1, 60)).map(lambda span: (span[0], span[0] + span[1]))


@st.composite
def geometries(draw, odd_kernels=False) -> Geometry:
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
    span = geometry.frame_span(samples)
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
        assert frames.tolist() == list(range(*geometry.frame_span((t, t + 1))))


@examples(100)
@given(geometry=geometries(), samples=SAMPLES)
def test_frame_span_is_just_enough(geometry, samples):
    """upsampled_span undoes frame_span; with one frame less, at either end, a sample is missing."""
    start, stop = geometry.frame_span(samples)
    assert covers(geometry.upsampled_span((start, stop)), samples)
    assert not covers(geometry.upsampled_span((start + 1, stop)), samples)
    assert not covers(geometry.upsampled_span((start, stop - 1)), samples)


@examples(50)
@given(geometry=geometries(), samples=SAMPLES, hops=st.integers(-20, 20))
def test_one_hop_later_is_one_frame_later(geometry, samples, hops):
    later = tuple(t + hops * geometry.hop_length for t in samples)
    assert geometry.frame_span(later) == tuple(frame + hops for frame in geometry.frame_span(samples))


@examples(50)
@given(geometry=geometries(odd_kernels=True), frame=st.integers(-5, 5))
def test_a_frame_is_felt_around_its_centre(geometry, frame):
    """Kernels of odd length have a middle: then as far before frame * hop_length as after it."""
    reach = range(-500, 501)
    centre = frame * geometry.hop_length
    spans = [geometry.frame_span((centre + lag, centre + lag + 1)) for lag in reach]
    lags = [lag for lag, (start, stop) in zip(reach, spans) if start <= frame < stop]
    assert lags and lags[0] == -lags[-1]


@examples(50)
@given(geometry=geometries())
def test_lookahead_is_the_furthest_that_any_sample_looks(geometry):
    hop = geometry.hop_length
    ahead = max(geometry.frame_span((t, t + 1))[1] - 1 - t // hop for t in range(-2 * hop, 3 * hop))
    assert ahead == geometry.lookahead_frames


@examples(50)
@given(geometry=geometries(), frames=st.integers(2, 1000))
def test_number_of_samples_is_the_fewest_with_that_many_frames(geometry, frames):
    samples = geometry.samples_of(frames)
    assert geometry.frames_of(samples) == frames > geometry.frames_of(samples - 1)


@examples(50)
@given(geometry=geometries(), start=st.integers(-200, 200), length=st.integers(1, 80))
def test_windows_stack(geometry, start, length):
    """At any start as many frames, and they suffice for every input of the window."""
    counts = set()
    for t in range(start, start + 2 * geometry.hop_length):
        samples = (t, t + length)
        frames = geometry.window_frame_span(samples)
        counts.add(frames[1] - frames[0])
        assert covers(geometry.upsampled_span(frames), geometry.input_span(samples))
    assert len(counts) == 1


# ---------------------------------------------------------------------------------- contradictions


@examples(100)
@given(geometry=geometries(), sample=st.integers(-100, 300))
def test_the_nearest_frame_is_the_nearest(geometry, sample):
    """Its centre; of two the earlier one. It is among the frames of the sample, if the model predicts linearly."""
    centres = {frame: frame * geometry.hop_length for frame in range(-110, 310)}
    nearest = min(centres, key=lambda frame: (abs(centres[frame] - sample), frame))
    assert geometry.nearest_frame(sample) == nearest
    predicting = dataclasses.replace(geometry, prediction_order=4)
    span = predicting.frame_span((sample, sample + 1))
    assert covers(span, geometry.frame_span((sample, sample + 1))) and covers(span, (nearest, nearest + 1))
    assert nearest <= sample // geometry.hop_length + predicting.lookahead_frames


def geometry_of(**changes) -> Geometry:
    """The geometry of settings that are sound but for the changes."""
    groups = [
        FEATURES,
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
