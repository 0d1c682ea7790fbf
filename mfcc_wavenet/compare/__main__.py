"""`python -m mfcc_wavenet.compare RUN... -o compare.html`."""

import os
from collections.abc import Sequence
from pathlib import Path

from mfcc_wavenet.compare.page import page
from mfcc_wavenet.compare.reader import Run, read
from mfcc_wavenet.config.errors import ArgumentParser, UserError, exit_codes
from mfcc_wavenet.config.files import expanded, write_text


@exit_codes
def main() -> None:
    parser = ArgumentParser(prog="python -m mfcc_wavenet.compare", description="Compares runs on one page.")
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="an offline W&B run, a run's folder, an experiment, or a folder of these"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("compare.html"), help="default: compare.html")
    parser.add_argument("--metrics", default="", metavar="NAME,NAME", help="the curves to show at first")
    parser.add_argument(
        "--systems", default="", metavar="NAME,NAME", help="of an evaluation, those to show: ours,librosa"
    )
    parser.add_argument("--title", default="Comparison of runs")
    parser.add_argument("--no-audio", dest="audio", action="store_false", help="a smaller page, without sounds")
    given = parser.parse_args()
    _refuse_special(given.output)
    runs = read(given.runs, given.audio, _names(given.systems))
    _refuse_input(given.output, given.runs, runs)
    text = page(runs, _names(given.metrics), given.title)
    try:
        write_text(Path(os.path.realpath(given.output)), text)  # a link, such as /dev/stdout, stays one
    except OSError as error:
        raise UserError(
            f"{given.output} could not be written ({error.strerror}); --output names another file."
        ) from error
    megabytes = given.output.stat().st_size / 1e6
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    line = f"{given.output}  {megabytes:.1f} MB, {count}: {', '.join(run.name for run in runs)}"
    print(line.encode("utf-8", "replace").decode())


def _names(given: str) -> list[str]:
    return [name for name in given.split(",") if name]


def _refuse_special(output: Path) -> None:
    """Refuses folders, and devices and pipes, which a file would replace."""
    if os.path.isdir(output):
        raise UserError(f"{output} is a folder; --output names a file, as in {output / 'compare.html'}.")
    if os.path.exists(output) and not os.path.isfile(output):
        raise UserError(f"{output} is not a regular file; --output names a file, as in compare.html.")


def _refuse_input(output: Path, given: Sequence[str], runs: Sequence[Run]) -> None:
    """Refuses to replace what the page is made of."""
    if not os.path.exists(output):
        return
    inputs = [expanded(path) for path in given]
    is_given = any(path.exists() and path.samefile(output) for path in inputs)
    is_of_a_run = output.suffix != ".html" and any(
        output.resolve().parent == Path(run.source).resolve() for run in runs
    )
    if is_given or is_of_a_run:
        raise UserError(f"{output} is a file of the runs that are compared; --output names another one.")


if __name__ == "__main__":
    main()
