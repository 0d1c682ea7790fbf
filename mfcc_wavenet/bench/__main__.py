"""`python -m mfcc_wavenet.bench generate`: a table, then one line of JSON."""

import json
import sys

from mfcc_wavenet.bench import generate
from mfcc_wavenet.config.errors import UserError, exit_codes


@exit_codes
def main() -> None:
    if sys.argv[1:] != ["generate"]:
        raise UserError("There is one benchmark: python -m mfcc_wavenet.bench generate.")
    print(json.dumps(generate.benchmark()), flush=True)


if __name__ == "__main__":
    main()
