"""`spatialprop dashboard`: a ready page on wandb for the runs of a project."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from spatialprop.errors import needs_extra

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entity", required=True, help="the wandb user or team that the project belongs to")
    parser.add_argument("--project", default="spatialprop")


def run(options: argparse.Namespace) -> int:
    """Save the page, which needs an account, and print its address."""
    print(make_dashboard(options.entity, options.project).save().url)
    return 0


def make_dashboard(entity: str, project: str) -> Workspace:
    """Curves, test scores, images and settings against scores, for runs that were made with `logger=wandb`."""
    with needs_extra("a dashboard needs wandb-workspaces", "dashboard"):
        import wandb_workspaces.expr as expr
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws

    by_connection = wr.Config("propagation.connection")
    compared = [f"test/{method}/mIoU" for method in ("coarse", "refined", "densecrf", "oracle_8px")]
    changes = [f"test/refined/changes/{kind}" for kind in ("changed", "right", "wrong")]
    settings = ("propagation.connection", "propagation.units", "guidance.hidden", "optimizer.lr", "seed")
    return ws.Workspace(
        entity=entity,
        project=project,
        name="Spatial propagation",
        sections=[
            ws.Section(
                name="Training",
                is_open=True,
                panels=[
                    wr.LinePlot(title="mIoU on val", y=["val/refined_mIoU", "val/coarse_mIoU"]),
                    wr.LinePlot(title="Loss", y=["train/loss"], smoothing_factor=0.8),
                    wr.LinePlot(title="Learning rate", y=["lr-AdamW/pg1", "lr-SGD/pg1"]),
                    wr.LinePlot(title="The segmenter's own training", x="segmenter/step", y=["segmenter/train/loss"]),
                    wr.MediaBrowser(title="Images of val", media_keys=["val/images"]),
                ],
            ),
            ws.Section(
                name="Test",
                is_open=True,
                panels=[
                    wr.BarPlot(title="mIoU", metrics=[wr.SummaryMetric(name) for name in compared]),
                    wr.BarPlot(
                        title="mIoU by connection, mean over seeds",
                        metrics=[wr.SummaryMetric("test/refined/mIoU")],
                        groupby=by_connection,
                        groupby_aggfunc="mean",
                    ),
                    wr.BarPlot(title="Boundary IoU", metrics=[wr.SummaryMetric("test/refined/boundary_IoU")]),
                    wr.BarPlot(title="Pixels changed, rightly, wrongly", metrics=[*map(wr.SummaryMetric, changes)]),
                    wr.ScatterPlot(
                        title="mIoU against time",
                        x=wr.SummaryMetric("test/refined/milliseconds"),
                        y=wr.SummaryMetric("test/refined/mIoU"),
                    ),
                    wr.MediaBrowser(title="Truth, coarse, refined", media_keys=["test/examples"]),
                ],
            ),
            ws.Section(
                name="Study",
                is_open=True,
                panels=[
                    wr.ParallelCoordinatesPlot(
                        title="Settings and score",
                        columns=[
                            *(wr.ParallelCoordinatesPlotColumn(wr.Config(name)) for name in settings),
                            wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("test/refined/mIoU")),
                        ],
                    )
                ],
            ),
        ],
        # The runs of one task, by sweep: others are a click away.
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("JobType") == "refine"), groupby=[expr.Metric("Group")]
        ),
    )
