"""mode=generate, mode=encode and mode=decode: files, one or a folder of them, to others."""

import time
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from mfcc_wavenet.config.command import Command
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import expanded, identities, owned, refuse_overwriting
from mfcc_wavenet.generation.inputs import find_inputs
from mfcc_wavenet.generation.outputs import OutputFolder
from mfcc_wavenet.generation.tasks.decode import Decode
from mfcc_wavenet.generation.tasks.encode import Encode
from mfcc_wavenet.generation.tasks.folder import FolderConversion
from mfcc_wavenet.generation.tasks.generate import Generate
from mfcc_wavenet.generation.tasks.task import Task, speed
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint

TASKS = {"generate": Generate, "encode": Encode, "decode": Decode}  # by mode


def convert(path: Path, checkpoint: Checkpoint, command: Command) -> None:
    """Makes of what command.input names what the mode makes of it; prints what was written and how fast that was.

    path: the checkpoint's file. One input file gives one output file. A folder, a glob or a file that holds several
    gives a folder: an interrupted conversion resumes there, and an input that fails does not stop the others.

    Raises UserError, after everything else is done, if an input failed.
    """
    task = TASKS[command.mode](checkpoint, command)
    given = expanded(command.output) if command.output else None
    folder = given or Path(task.folder)
    inputs = find_inputs(command.input, folder, task.reads, command.mode)
    if given and task.together(inputs, given):
        return
    is_one_file = len(inputs) == 1 and expanded(command.input) == inputs[0]
    if is_one_file and (task.is_one(inputs[0]) or (given and given.suffix.lower() in task.writes)):
        _convert_one(task, inputs[0], given or Path(task.single_output(inputs[0])))
        return
    made_with = {"checkpoint_sha256": checkpoints.digest(path), **task.made_with()}
    with owned(folder, f"The folder {folder}"):
        outputs = OutputFolder(folder, made_with, inputs, command.restart)
        FolderConversion(task, outputs).convert(inputs)


def _convert_one(task: Task, source: Path, output: Path) -> None:
    if output.suffix.lower() not in task.writes:
        raise UserError(f"output={output}: {task.what} written as {' or '.join(task.writes)}.")
    refuse_overwriting(output, identities([source]))
    items = list(task.read(source, output))
    if len(items) > 1:
        raise UserError(f"output={output} is one file, but {source} holds {len(items)}; output=FOLDER takes them all.")
    item = replace(items[0], output=output)
    task.check(item)
    started, samples = time.perf_counter(), task.samples(item)
    made = []
    with tqdm(desc=task.doing, total=samples, unit="sample", unit_scale=True, leave=False, disable=None) as bar:

        def progress(added: int) -> None:
            bar.set_postfix_str(speed(bar.n + added, task.inverter.sample_rate, started), refresh=False)
            bar.update(added)

        task.make([item], progress, lambda _, one: made.append(one))
    task.write(item, made[0])
    took = speed(samples, task.inverter.sample_rate, started)
    print(f"{output}: {task.summary() or f'{samples:,} samples, {took}'}.")
    if remark := task.remark(item, made[0]):
        print(remark)
