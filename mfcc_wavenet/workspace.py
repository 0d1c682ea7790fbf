"""A W&B workspace with this project's panels: python -m mfcc_wavenet.workspace ENTITY/PROJECT."""

import importlib.util
import sys
from itertools import islice
from typing import Any

from mfcc_wavenet.config.errors import ArgumentParser, UserError, exit_codes
from mfcc_wavenet.runs.tracker import SAMPLES_SEEN, service

NAME = "mfcc_wavenet"
RECENT_RUNS = 20  # the sounds and pictures of which get panels
UPDATED = ("encoder", "bottleneck", "upsampling", "speaker", "embedding", "prediction", "layers", "head")
CURVES = {
    "Progress": ["train/error", "train/loss", "valid/nats", "valid/error", "eval/wrong", "eval/error", "score"],
    "Predictions": ["train/bits_per_sample", "train/avg_prob_target", "train/avg_max", "train/peak_dist"],
    "Gradients": ["train/grad_norm", "train/mfcc_grad_mean", "train/mfcc_grad_sd", "train/learning_rate"],
    "Updates": [f"train/update_ratio_{group}" for group in UPDATED],
    "Latents": [
        "train/perplexity",
        "train/codes_used",
        "train/commitment",
        "train/codebook_loss",
        "train/kl_bits",
        "train/penalty",
        "train/latent_norm",
    ],
    "Throughput": ["train/samples_per_second"],
}
MEDIA = ("audio/", "spectrogram/", "codebook")
SIGNED = ("score", "train/mfcc_grad_mean")  # may be negative: no logarithmic axis
VARIED = (
    "window",
    "window.samples",
    "window.batch_size",
    "upsampling",
    "features",
    "wavenet.residual_channels",
    "wavenet.blocks",
    "wavenet.layers_per_block",
    "wavenet.kernel_size",
    "optim.learning_rate",
    "optim.schedule",
)


def build(entity: str, project: str, media: list[str]) -> Any:
    """The workspace; media: keys of the sounds and pictures that runs of the project have logged."""
    import wandb_workspaces.reports.v2 as panels  # an optional dependency
    import wandb_workspaces.workspaces as workspaces

    def curve(metric: str) -> Any:
        return panels.LinePlot(title=metric, x=SAMPLES_SEEN, y=[metric], log_y=metric not in SIGNED)

    class Setting(panels.ParallelCoordinatesPlotColumn):
        def _to_model(self) -> Any:
            column = super()._to_model()
            column.accessor = f"config:{self.metric.name}.value"  # Config takes the dots of a flat key as nesting
            return column

    settings = [Setting(panels.Config(name)) for name in VARIED]
    score = panels.ParallelCoordinatesPlotColumn(panels.SummaryMetric("score"))  # every run has one
    comparison = [
        panels.BarPlot(title="samples to zero error", metrics=["samples_to_zero"]),
        panels.BarPlot(title="score", metrics=["score"]),
        panels.ScalarChart(title="fewest samples to zero", metric="samples_to_zero", groupby_aggfunc="min"),
        panels.ParallelCoordinatesPlot(title="settings and score", columns=[*settings, score]),
        panels.ParameterImportancePlot(with_respect_to="score"),
    ]
    browsers = [panels.MediaBrowser(title=key, media_keys=[key], num_columns=1) for key in media]
    sections = {"Comparison": comparison, "Sounds and pictures": browsers}
    sections |= {name: [curve(metric) for metric in metrics] for name, metrics in CURVES.items()}
    first = ("Progress", "Comparison", "Sounds and pictures")
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            workspaces.Section(name=name, panels=sections[name], is_open=name in first)
            for name in sorted(sections, key=lambda name: (*first, name).index(name))
        ],
    )


def save(path: str) -> str:
    """Saves a workspace in ENTITY/PROJECT; returns its address."""
    entity, _, project = path.partition("/")
    if not entity or not project or "/" in project:
        raise UserError(f"{path} is not a project; a project is given as ENTITY/PROJECT.")
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError(f"A workspace needs one more package: {sys.executable} -m pip install wandb-workspaces.")
    with service(path) as api:
        recent = islice(api.runs(path, order="-created_at", per_page=RECENT_RUNS, lazy=False), RECENT_RUNS)
        logged = {key for run in recent for key in run.summary_metrics}
        return build(entity, project, sorted(key for key in logged if key.startswith(MEDIA))).save().url


@exit_codes
def main() -> None:
    parser = ArgumentParser(prog="python -m mfcc_wavenet.workspace", description=__doc__)
    parser.add_argument("path", metavar="ENTITY/PROJECT")
    print(save(parser.parse_args().path))


if __name__ == "__main__":
    main()
