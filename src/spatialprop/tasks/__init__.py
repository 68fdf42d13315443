"""What is trained, as Lightning modules."""

from spatialprop.tasks.base import Parts, Task
from spatialprop.tasks.dilated_affinity import DilatedAffinity
from spatialprop.tasks.joint import Joint
from spatialprop.tasks.refine import Refine
from spatialprop.tasks.segment import Segment
from spatialprop.tasks.universal import Universal
from spatialprop.tasks.values import Values

__all__ = ["DilatedAffinity", "Joint", "Parts", "Refine", "Segment", "Task", "Universal", "Values"]
