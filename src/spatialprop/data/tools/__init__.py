"""What `spatialprop data` does with data sets: get, unpack, inspect, convert and submit."""

from spatialprop.data.tools.conversion import claim_folder, convert_split
from spatialprop.data.tools.inspection import SplitReport, inspect_example, inspect_split
from spatialprop.data.tools.submission import check_predictions, write_submission
from spatialprop.data.tools.unpack import unpack

__all__ = [
    "SplitReport",
    "check_predictions",
    "claim_folder",
    "convert_split",
    "inspect_example",
    "inspect_split",
    "unpack",
    "write_submission",
]
