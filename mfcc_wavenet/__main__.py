"""`python -m mfcc_wavenet` says which commands there are."""

from mfcc_wavenet.config.errors import UserError, exit_codes

COMMANDS = "python run.py", *(f"python -m mfcc_wavenet.{name}" for name in ("sweep", "compare", "bench", "workspace"))


@exit_codes
def main() -> None:
    raise UserError(f"mfcc_wavenet alone is not a command; there are {', '.join(COMMANDS)}.")


if __name__ == "__main__":
    main()
