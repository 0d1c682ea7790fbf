"""`python -m mfcc_wavenet.compare RUN... -o compare.html`."""

import argparse
from pathlib import Path

from mfcc_wavenet.compare.page import page
from mfcc_wavenet.compare.reader import read
from mfcc_wavenet.config.errors import UserError, exit_codes
from mfcc_wavenet.config.files import write_text


@exit_codes
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mfcc_wavenet.compare", description="Compares runs on one page.")
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="an offline W&B run, a run's folder, an experiment, or a folder of these"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("compare.html"), help="default: compare.html")
    parser.add_argument("--metrics", default="", metavar="NAME,NAME", help="the curves to show at first")
    parser.add_argument("--title", default="Comparison of runs")
    parser.add_argument("--no-audio", dest="audio", action="store_false", help="a smaller page, without sounds")
    given = parser.parse_args()
    runs = read(given.runs, given.audio)
    text = page(runs, [name for name in given.metrics.split(",") if name], given.title)
    try:
        write_text(given.output, text)
    except OSError as error:
        raise UserError(
            f"{given.output} could not be written ({error.strerror}); --output names another file."
        ) from error
    megabytes = given.output.stat().st_size / 1e6
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    print(f"{given.output}  {megabytes:.1f} MB, {count}: {', '.join(run.name for run in runs)}")


if __name__ == "__main__":
    main()
