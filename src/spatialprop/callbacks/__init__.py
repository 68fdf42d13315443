"""What happens beside the training: checkpoints to go on from, examples for the report, predictions as pictures."""

from spatialprop.callbacks.examples import SaveExamples
from spatialprop.callbacks.failures import SaveFailures
from spatialprop.callbacks.predictions import SavePredictions
from spatialprop.callbacks.ranked import SaveRanked
from spatialprop.callbacks.resume import BestCheckpoint, ResumeCheckpoint

__all__ = ["BestCheckpoint", "ResumeCheckpoint", "SaveExamples", "SaveFailures", "SavePredictions", "SaveRanked"]
