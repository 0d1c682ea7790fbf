"""The table at the end of a run."""

from mfcc_wavenet.config.files import RESULTS, write_json
from mfcc_wavenet.runs.summary import table

OF_ANY = {
    "wrong": 3, "samples": 1000, "reproduced": None, "nats": 2.5, "samples_seen": 5000, "epochs": 5.0, "steps": 10,
    "seconds": 1.0, "margin": -0.5,
}  # fmt: skip
OF_UNITS = {"latents": 167, "latent_rate_hz": 50.0, "units_used": 41, "bits_per_second": 240.2}


def row(folder, **results) -> str:
    write_json(folder / RESULTS, OF_ANY | results)
    (found,) = [line for line in table(folder, {}).splitlines() if line.startswith("latents")] or [""]
    return found


def test_latents_that_the_decoder_hardly_uses_are_told_of(tmp_path):
    """With what may help; the measures of the codebook alone do not show it."""
    used = row(tmp_path, **OF_UNITS, gain=0.3)
    assert used.endswith(
        "167 at 50 Hz, 41 codes used, 240 bit/s; with those of another place, nats would be 0.3000 higher"
    )
    unused = row(tmp_path, **OF_UNITS, gain=0.004)
    assert "0.0040 higher: the WaveNet hardly uses them" in unused and "bottleneck.quantise_from" in unused
    assert row(tmp_path) == ""
