"""What happens beside the training: checkpoints to go on from, examples for the report, predictions as pictures."""

from spatialprop.callbacks.examples import SaveExamples, image_and_masks, image_and_pictures
from spatialprop.callbacks.failures import SaveFailures
from spatialprop.callbacks.predictions import SavePredictions
from spatialprop.callbacks.ranked import SaveRanked
from spatialprop.callbacks.resume import BestCheckpoint, ResumeCheckpoint

__all__ = [
    "BestCheckpoint",
    "ResumeCheckpoint",
    "SaveExamples",
    "SaveFailures",
    "SavePredictions",
    "SaveRanked",
    "image_and_masks",
    "image_and_pictures",
]
