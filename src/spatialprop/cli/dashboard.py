"""`spatialprop dashboard`: a ready page on wandb for the runs of a project."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

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
    """Curves, test scores by setting, and test images, for runs that were made with `logger=wandb`."""
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError:
        raise ImportError("a dashboard needs wandb-workspaces: pip install 'spatialprop[dashboard]'") from None
    by_connection = wr.Config("propagation.connection")
    compared = [f"test/{method}/mIoU" for method in ("coarse", "refined", "densecrf", "oracle_8px")]
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
                    wr.MediaBrowser(title="Truth, coarse, refined", media_keys=["test/examples"]),
                ],
            ),
        ],
    )
