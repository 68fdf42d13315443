"""What is trained, as Lightning modules."""

from spatialprop.tasks.joint import Joint
from spatialprop.tasks.refine import Refine
from spatialprop.tasks.segment import Segment

__all__ = ["Joint", "Refine", "Segment"]
