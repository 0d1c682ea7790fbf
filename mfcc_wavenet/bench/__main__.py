"""`python -m mfcc_wavenet.bench generate`, `train`, `prepare` and `ceiling`: a table, then one line of JSON."""

import argparse
import json
import math
import tempfile
from pathlib import Path

from mfcc_wavenet.bench import ceiling, fit, generate, prepare, step_time, train
from mfcc_wavenet.bench.networks import MEASURED
from mfcc_wavenet.config.errors import ArgumentParser, UserError, exit_codes


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _counts(text: str) -> list[int]:
    if not all(count.isdecimal() and int(count) > 0 for count in _names(text)):
        raise argparse.ArgumentTypeError(f"{text} are not whole numbers of at least 1, as in 1,2")
    return [int(count) for count in _names(text)]


def _above_0(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


@exit_codes
def main() -> None:
    parser = ArgumentParser(
        prog="python -m mfcc_wavenet.bench", description="Speed and quality next to what is possible."
    )
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    benchmarks.add_parser("generate", help="of generation")
    of_preparing = benchmarks.add_parser("prepare", help="of preparing a corpus")
    of_preparing.add_argument("--workers", type=_counts, help="processes (default: 1,2, as far as there are cores)")
    of_preparing.add_argument("--hours", type=_above_0, default=prepare.HOURS, help=f"of audio ({prepare.HOURS})")
    of_codes = benchmarks.add_parser("ceiling", help="of mu-law codes: the quality that they allow")
    of_codes.add_argument("root", help="a folder of audio, a file, or a manifest")
    default = ",".join(map(str, ceiling.CHANNELS))
    of_codes.add_argument("--channels", type=_counts, help=f"numbers of codes (default: {default})")
    of_training = benchmarks.add_parser("train", help="of training")
    of_training.add_argument("--networks", type=_names, help=f"default: {','.join(MEASURED)}")
    of_training.add_argument(
        "--threads", type=_counts, help="of a CPU (default: 1,2 without a GPU; with one, the GPU is measured)"
    )
    of_training.add_argument(
        "--seconds", type=_above_0, help=f"of each row (default: {train.SECONDS}, with --fit {fit.SECONDS})"
    )
    what = of_training.add_mutually_exclusive_group()
    what.add_argument("--profile", action="store_true", help="where the time of a step goes")
    what.add_argument("--fit", action="store_true", help="what networks of other sizes cost on a CPU")
    given = parser.parse_args()
    if given.benchmark == "generate":
        rows = generate.benchmark()
    elif given.benchmark == "prepare":
        rows = prepare.benchmark(given.workers, given.hours)
    elif given.benchmark == "ceiling":
        with tempfile.TemporaryDirectory() as folder:
            rows = ceiling.benchmark(given.root, given.channels, Path(folder))
    elif given.fit:
        if given.networks:
            raise UserError("--fit has networks of its own; leave --networks out.")
        rows = fit.benchmark(given.threads, given.seconds or fit.SECONDS)
    else:
        threads = given.threads or train.default_threads()
        measure = step_time.profile if given.profile else train.benchmark
        rows = measure(given.networks or list(MEASURED), threads, given.seconds or train.SECONDS)
    print(json.dumps(rows), flush=True)


if __name__ == "__main__":
    main()
