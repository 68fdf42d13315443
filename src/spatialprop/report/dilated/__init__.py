"""What runs of task=dilated_affinity have besides: accuracy of affinities, regions of errors, cost."""

from spatialprop.report.dilated.figures import write_affinity_figures
from spatialprop.report.dilated.tables import NOTES, affinity_tables, net

__all__ = ["NOTES", "affinity_tables", "net", "write_affinity_figures"]
