"""Sweep files: W&B's YAML, read and checked, so that a mistake is a sentence with its line instead of a failed run.

The format is W&B's own (docs.wandb.ai, "sweep configuration"): `wandb sweep` takes every file that is accepted here.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfcc_wavenet.config.parse import near, setting_names
from mfcc_wavenet.sweep.document import Document, Keys
from mfcc_wavenet.sweep.hyperband import MAX_BANDS, Hyperband
from mfcc_wavenet.sweep.search_space import DISTRIBUTIONS, GRID, Parameter, parameter

RUN_PY = "run.py"  # the program whose settings are known
CONF = Path(__file__).parents[2] / "conf"
KEYS = (
    "program", "command", "method", "metric", "parameters", "early_terminate", "run_cap",
    "name", "description", "project", "entity",
)  # fmt: skip
HOSTED_KEYS = ("apiVersion", "kind", "controller", "job", "image_uri", "scheduler", "metrics", "settings")
METHODS = ("grid", "random", "bayes")
GOALS = ("minimize", "maximize")
MACROS = (
    "env", "interpreter", "program", "args", "args_no_equals", "args_no_hyphens", "args_no_boolean_flags",
    "args_json", "args_append_hydra", "args_override_hydra",
)  # fmt: skip
COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")  # W&B's default
HYPERBAND_KEYS = ("type", "min_iter", "max_iter", "s", "eta", "strict")


@dataclass(frozen=True)
class SweepFile:
    """The content of a sweep file. Its metric is what every run logs under that name."""

    name: str
    program: str
    command: tuple[str, ...]  # with W&B's macros, as in ${args_no_hyphens}
    method: str  # "grid", "random" or "bayes"
    metric: str
    goal: str  # "minimize" or "maximize"
    target: int | float | None  # of the metric; once a run has reached it, no other starts
    parameters: tuple[Parameter, ...]
    run_cap: int | None
    hyperband: Hyperband | None
    project: str | None
    entity: str | None


def read(path: Path) -> SweepFile:
    """The file's content; UserError names the line of the first mistake."""
    document = Document(path)
    top = document.mapping(())
    document.refuse_unknown((), [*KEYS, *HOSTED_KEYS])
    for key in top:
        if key in HOSTED_KEYS:
            raise document.wrong(
                (key,), f"{key} is for the hosted service only; `wandb sweep` takes it, mfcc_wavenet.sweep does not"
            )
    for key in ("program", "method", "metric", "parameters"):
        if key not in top:
            raise document.wrong((), f"{key} is missing{EXAMPLES[key]}")
    program = document.text(("program",))
    metric = _metric(document)
    run_cap = document.number(("run_cap",), integer=True, minimum=1) if "run_cap" in top else None
    method = document.one_of(("method",), METHODS)
    return SweepFile(
        name=document.text(("name",)) if "name" in top else path.stem,
        program=program,
        command=_command(document) if "command" in top else COMMAND,
        method=method,
        metric=metric["name"],
        goal=metric.get("goal", "minimize"),
        target=metric.get("target"),
        parameters=tuple(_parameters(document, method, program)),
        run_cap=run_cap,
        hyperband=_hyperband(document) if "early_terminate" in top else None,
        project=document.text(("project",)) if "project" in top else None,
        entity=document.text(("entity",)) if "entity" in top else None,
    )


EXAMPLES = {
    "program": "; program: run.py trains",
    "method": f"; there are {', '.join(METHODS)}",
    "metric": "; metric: {name: score, goal: minimize} looks for zero error with the fewest samples seen",
    "parameters": "; they are the settings to vary, as in window.samples: {values: [250, 500]}",
}


# --- its parts ------------------------------------------------------------------------------------


def _command(document: Document) -> tuple[str, ...]:
    chunks = document.get(("command",))
    if not isinstance(chunks, list) or not chunks:
        raise document.wrong(("command",), "command is a list, as in [python, run.py, '${args_no_hyphens}']")
    for position, chunk in enumerate(map(str, chunks)):
        macro = chunk[2:-1] if chunk.startswith("${") and chunk.endswith("}") else None
        if macro is not None and macro not in MACROS and not macro.startswith("envvar:"):
            raise document.wrong(("command", position), f"{chunk} is not known; {near(macro, list(MACROS))}")
    return tuple(map(str, chunks))


def _metric(document: Document) -> dict[str, Any]:
    metric = document.mapping(("metric",))
    document.refuse_unknown(("metric",), ["name", "goal", "target"])
    if "name" not in metric:
        raise document.wrong(("metric",), f"metric has no name{EXAMPLES['metric']}")
    document.text(("metric", "name"))
    if "goal" in metric:
        document.one_of(("metric", "goal"), GOALS)
    if "target" in metric:
        document.number(("metric", "target"))
    return metric


def _hyperband(document: Document) -> Hyperband:
    place = ("early_terminate",)
    given = document.mapping(place)
    document.refuse_unknown(place, list(HYPERBAND_KEYS))
    if given.get("type") != "hyperband":
        raise document.wrong((*place, "type"), f"early_terminate: type is {given.get('type')}; it must be hyperband")
    for key in ("min_iter", "max_iter", "s"):
        if key in given:
            document.number((*place, key), integer=True, minimum=1, maximum=MAX_BANDS if key == "s" else None)
    if "eta" in given and document.number((*place, "eta")) <= 1:
        raise document.wrong((*place, "eta"), f"early_terminate: eta is {given['eta']}; it must be more than 1")
    if not isinstance(given.get("strict", True), bool):
        raise document.wrong((*place, "strict"), f"early_terminate: strict is {given['strict']}; it is true or false")
    if "min_iter" not in given and not {"max_iter", "s"} <= given.keys():
        raise document.wrong(
            place, "early_terminate needs min_iter, or max_iter and s: rows after which runs are judged"
        )
    hyperband = Hyperband.of(**{key: value for key, value in given.items() if key != "type"})
    if not hyperband.bands:
        raise document.wrong(place, "early_terminate never judges a run: max_iter divided by eta is less than one row")
    return hyperband


def _parameters(document: Document, method: str, program: str) -> Iterator[Parameter]:
    if not document.mapping(("parameters",)):
        raise document.wrong(("parameters",), f"parameters are empty{EXAMPLES['parameters']}")
    for name in document.get(("parameters",)):
        place = ("parameters", name)
        if Path(program).name == RUN_PY and name not in (names := setting_names()):
            raise document.wrong(place, f"{name} is not a setting; {near(str(name), names)}")
        distribution = _distribution(document, place)
        if method == "grid" and distribution not in GRID:
            raise document.wrong(
                place, f"{name} has no grid; a grid takes {', '.join(GRID)}, method: random takes every distribution"
            )
        try:
            drawn = parameter(str(name), distribution, document.get(place))
        except (OverflowError, ValueError) as error:
            raise document.wrong(
                place, f"{name}: {distribution} would draw numbers that are too large or too small for a float"
            ) from error
        if Path(program).name == RUN_PY:
            _refuse_unknown_options(document, place, drawn)
        yield drawn


def _distribution(document: Document, place: Keys) -> str:
    """The name of the parameter's distribution, given or inferred, after a check of its keys."""
    given = document.mapping(place)
    name = place[-1]
    if "parameters" in given:
        raise document.wrong(
            (*place, "parameters"),
            f"{name}: nested parameters would reach the program as one argument that Hydra cannot read; write "
            f"{name}.{next(iter(document.mapping((*place, 'parameters'))), 'NAME')} as a separate parameter",
        )
    distribution = given.get("distribution") or _inferred(given)
    if not isinstance(distribution, str) or distribution not in DISTRIBUTIONS:
        raise document.wrong(
            (*place, "distribution") if "distribution" in given else place,
            f"{name}: {distribution} is not a distribution; there are {', '.join(DISTRIBUTIONS)}"
            if distribution
            else f"{name} has neither value nor values nor min and max",
        )
    needed, optional = DISTRIBUTIONS[distribution]
    document.refuse_unknown(place, [*needed, *optional, "distribution"], f"{name}, {distribution}: ")
    for key in needed:
        if key not in given:
            raise document.wrong(place, f"{name}: {distribution} needs {key}")
    for key in given.keys() - {"distribution", "value", "values", "probabilities"}:
        document.number((*place, key), integer=distribution == "int_uniform")
    _refuse_invalid(document, place, distribution, given)
    return distribution


def _inferred(given: dict[str, Any]) -> str | None:
    if "value" in given:
        return "constant"
    if "values" in given:
        return "categorical_w_probabilities" if "probabilities" in given else "categorical"
    if "min" in given or "max" in given:
        return "int_uniform" if all(type(given.get(key)) is int for key in ("min", "max")) else "uniform"
    return None


def _refuse_invalid(document: Document, place: Keys, distribution: str, given: dict[str, Any]) -> None:
    """Refuses values that do not define a distribution."""
    name = place[-1]
    if "min" in given and given["min"] >= given["max"]:
        raise document.wrong((*place, "min"), f"{name}: min is {given['min']} and max {given['max']}; min must be less")
    if distribution.endswith("_values") and given["min"] <= 0:
        raise document.wrong((*place, "min"), f"{name}: min is {given['min']}; {distribution} takes numbers above 0")
    for key in ("q", "sigma", "a", "b"):
        if key in given and given[key] <= 0:
            raise document.wrong((*place, key), f"{name}: {key} is {given[key]}; it must be above 0")
    if "values" not in given:
        return
    values = given["values"]
    if not isinstance(values, list) or not values:
        raise document.wrong((*place, "values"), f"{name}: values is a list, as in [250, 500]")
    twice = [text for text, count in Counter(map(str, values)).items() if count > 1]
    if twice:
        raise document.wrong((*place, "values"), f"{name}: values has {twice[0]} twice")
    if "probabilities" in given:
        probabilities = given["probabilities"]
        if not isinstance(probabilities, list) or len(probabilities) != len(values):
            raise document.wrong((*place, "probabilities"), f"{name}: every value needs its probability")
        are_valid = all(type(p) in (int, float) and p >= 0 for p in probabilities)
        if not are_valid or not abs(sum(probabilities) - 1) <= 1e-6:
            raise document.wrong(
                (*place, "probabilities"), f"{name}: probabilities are numbers of at least 0 that add up to 1"
            )


def _refuse_unknown_options(document: Document, place: Keys, drawn: Parameter) -> None:
    folder = CONF / drawn.name
    options = sorted(path.stem for path in folder.glob("*.yaml"))
    for value in drawn.choices if options else ():
        if str(value) not in options:
            raise document.wrong(place, f"{drawn.name}={value}: there is no such option; {near(str(value), options)}")
