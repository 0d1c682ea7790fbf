"""`python -m mfcc_wavenet.bench generate`: a table, then one line of JSON."""

import json
import os
import sys

from mfcc_wavenet.bench import generate


def main() -> None:
    if sys.argv[1:] != ["generate"]:
        print("There is one benchmark: python -m mfcc_wavenet.bench generate", file=sys.stderr)
        sys.exit(2)
    try:
        print(json.dumps(generate.generate()), flush=True)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing is left to be written at exit
        sys.exit(1)


if __name__ == "__main__":
    main()
