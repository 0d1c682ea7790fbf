"""Files as W&B artifacts: those of a run on their way to one, and checkpoint=wandb:ENTITY/PROJECT/NAME:ALIAS back."""

import re
import shutil
from pathlib import Path

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import CHECKPOINT

PREFIX = "wandb:"
REFERENCE = re.compile(r"wandb:(?P<path>[^/:]+/[^/:]+/[^/:]+:[^/:]+)")


def kept(file: Path, directory: Path) -> Path:
    """The file as it is now, for as long as the run's directory, and without its bytes a second time.

    wandb would copy it to another folder, and leave the copy there. Our files are replaced as a whole, never
    written into, so that a second name for the same bytes is as good.
    """
    copy = directory / "artifacts" / file.name
    copy.parent.mkdir(exist_ok=True)
    copy.unlink(missing_ok=True)
    try:
        copy.hardlink_to(file)
    except OSError:  # another disk
        shutil.copyfile(file, copy)
    return copy


def fetch(reference: str, folder: Path) -> Path:
    """Downloads the artifact into a folder below, unless it is there; returns the path of its checkpoint.

    The folder is ENTITY/PROJECT/NAME-VERSION, so that an alias that moves on never meets old files.
    Raises UserError for a reference of another form, without credentials or server, and where there is no
    such artifact or no checkpoint in it.
    """
    from mfcc_wavenet.runs.tracker import service  # takes a second, which other checkpoints need not wait for

    form = REFERENCE.fullmatch(reference)
    if form is None:
        raise UserError(f"checkpoint={reference}: an artifact is named wandb:ENTITY/PROJECT/NAME:ALIAS.")
    with service(f"checkpoint={reference}") as api:
        artifact = api.artifact(form["path"])
        if CHECKPOINT not in (held := artifact.manifest.entries):
            raise UserError(
                f"checkpoint={reference} holds no {CHECKPOINT}, but {', '.join(sorted(held)) or 'nothing'}."
            )
        name, _, version = artifact.source_name.partition(":")
        below = folder / artifact.entity / artifact.project / f"{name}-{version}"
        return Path(artifact.download(str(below), skip_cache=True)) / CHECKPOINT
