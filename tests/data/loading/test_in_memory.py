"""What is kept is the same as what is made anew, once, within its room."""

import numpy as np
import pytest

from spatialprop.data import SyntheticShapes
from spatialprop.data.loading.in_memory import InMemory


class Counted(SyntheticShapes):
    """Remembers what was asked for."""

    def __init__(self, count):
        super().__init__("train", count, size=(100, 100))
        self.asked = []

    def __getitem__(self, index):
        self.asked.append(index)
        return super().__getitem__(index)


def test_each_example_is_made_once_and_is_the_same():
    drawn = Counted(3)
    kept = InMemory(drawn, megabytes=1)
    for index in (0, 2, 1, 2, 0, 1):
        fresh = SyntheticShapes("train", 3, size=(100, 100))[index]
        example = kept[index]
        assert example.name == fresh.name
        np.testing.assert_array_equal(example.image, fresh.image)
        np.testing.assert_array_equal(example.label, fresh.label)
    assert drawn.asked == [0, 2, 1]
    assert (len(kept), kept.names, kept.labels) == (3, drawn.names, drawn.labels)


def test_no_more_is_kept_than_there_is_room_for():
    drawn = Counted(40)  # 40,000 bytes each: 25 fill a megabyte
    kept = InMemory(drawn, megabytes=1)
    for _ in range(2):
        for index in range(40):
            kept[index]
    assert drawn.asked == [*range(40), *range(25, 40)]


def test_coarse_maps_count_and_are_kept():
    coarse = np.zeros((6, 100, 100), np.uint8)  # with it an example takes 100,000 bytes: 10 fill a megabyte

    class WithMaps(Counted):
        def __getitem__(self, index):
            return super().__getitem__(index)._replace(coarse=coarse.copy())

    drawn = WithMaps(12)
    kept = InMemory(drawn, megabytes=1)
    for index in [*range(12), *range(12)]:
        np.testing.assert_array_equal(kept[index].coarse, coarse)
    assert drawn.asked == [*range(12), 10, 11]


def test_nobody_can_write_to_what_is_kept():
    kept = InMemory(SyntheticShapes("train", 1), megabytes=1)
    with pytest.raises(ValueError, match="read-only"):
        kept[0].image[0] = 0


@pytest.mark.parametrize("memory", [-1, None, 0.5])
def test_what_is_no_number_of_megabytes_is_refused(memory):
    with pytest.raises(ValueError, match=f"memory must be a whole number of megabytes, 0 for none; got {memory}"):
        InMemory(SyntheticShapes("train", 1), megabytes=memory)
