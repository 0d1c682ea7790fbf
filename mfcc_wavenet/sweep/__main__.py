"""`python -m mfcc_wavenet.sweep sweeps/zero_error.yaml --count 20 --jobs 2`."""

import argparse
from pathlib import Path

from mfcc_wavenet.config.errors import ArgumentParser, exit_codes
from mfcc_wavenet.sweep.engine import sweep


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


@exit_codes
def main() -> None:
    parser = ArgumentParser(prog="python -m mfcc_wavenet.sweep", description="Sweeps without an account.")
    parser.add_argument("file", type=Path, help="a sweep file, as for `wandb sweep`")
    parser.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="a setting for every run")
    parser.add_argument("--count", type=_positive, help="the number of runs, those of earlier calls included")
    parser.add_argument("--jobs", type=_positive, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--storage", help="an Optuna storage URL, for machines that work on one sweep together")
    parser.add_argument("--name", help="of the sweep and its folder in runs/sweeps (default: the file's)")
    given = vars(parser.parse_intermixed_args())
    sweep(given.pop("file"), **given)


if __name__ == "__main__":
    main()
