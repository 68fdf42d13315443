"""What is trained, as Lightning modules."""

from spatialprop.tasks.dilated_affinity import DilatedAffinity
from spatialprop.tasks.joint import Joint
from spatialprop.tasks.refine import Refine
from spatialprop.tasks.segment import Segment

__all__ = ["DilatedAffinity", "Joint", "Refine", "Segment"]
