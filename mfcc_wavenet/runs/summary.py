"""What came out of a finished run, in the words of its last table."""

from pathlib import Path

from mfcc_wavenet.config.files import BEST, CHECKPOINT
from mfcc_wavenet.runs.history import read_results

LEAST_GAIN = 0.02  # nats per sample, below which latents are hardly used


def table(folder: Path, commands: dict[str, str]) -> str:
    """What came out of a finished run, where it lies, and what can be done with its W&B run."""
    results = read_results(folder)
    rows = {
        "wrong": f"{results['wrong']:,} of {results['samples']:,} samples{_part(results)}, teacher-forced",
        "reproduced": f"{reproduction(results)}, free-running from MFCCs alone",
        "nats": f"{results['nats']:.6f} per sample",
        "latents": _latents(results),
        "valid": _valid(results),
        "worst jump": _jump(results),
        "best pass": _best(folder, results),
        "samples seen": f"{results['samples_seen']:,} in {results['epochs']:.1f} epochs, {results['steps']:,} steps",
        "seconds": f"{results['seconds']:,.1f}",
        "audio": ", ".join(str(path) for path in sorted(folder.glob("*.wav"))),
        "pictures": ", ".join(str(path) for path in sorted(folder.glob("*.png"))),
        "checkpoint": str(folder / CHECKPOINT),
        **commands,
    }
    return "\n".join(f"{name:<15}  {value}" for name, value in rows.items() if value)


def _jump(results: dict) -> str:
    """How far the loss ever was above its lowest before; nothing of a run that logged no rows, or did not say."""
    jump, returns = results.get("worst_jump"), results.get("returns", 0)
    if jump is None:
        return ""
    returned = f"; training returned to its best pass {returns:,} times" if returns else ""
    return f"{jump:.4f} nats that the loss rose above its lowest before{returned}"


def _best(folder: Path, results: dict) -> str:
    """The best pass, where it is not the last one."""
    if results.get("best_checkpoint") != BEST:
        return ""
    valid = results.get("best_valid_nats")
    measured = f"{results['best_wrong']:,} wrong" if valid is None else f"{valid:.6f} nats on the valid part"
    return f"{measured} after {results['best_step']:,} steps: {folder / BEST}"


def _latents(results: dict) -> str:
    """What the latents of an autoencoder carry, and what the decoder makes of them."""
    if "latents" not in results:
        return ""
    rate, used = f"{results['latents']:,} at {results['latent_rate_hz']:g} Hz", results["units_used"]
    units = "" if used is None else f", {used:,} codes used, {results['bits_per_second']:.0f} bit/s"
    worth = f"{rate}{units}; with those of another place, nats would be {results['gain']:.4f} higher"
    if results["gain"] >= LEAST_GAIN:
        return worth
    later = "" if used is None else ", or a later bottleneck.quantise_from,"
    return f"{worth}: the WaveNet hardly uses them, and one that sees less of the past{later} may help"


def _part(results: dict) -> str:
    return " of the valid part" if results.get("split") == "valid" else ""


def _valid(results: dict) -> str:
    """The last pass over the valid part, of a run that made some."""
    if "valid_nats" not in results:
        return ""
    return f"{results['valid_nats']:.6f} nats per sample, error {results['valid_error']:.4f}, not trained on"


def reproduction(results: dict) -> str:
    """How much of the audio free-running generation gave back, in words."""
    if results["reproduced"] is None:
        return "not tried, since some are wrong"
    return f"{results['reproduced']:,} of {results['samples']:,} samples, bit for bit"
