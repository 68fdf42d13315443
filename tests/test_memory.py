"""What is freed stays with the process."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from spatialprop.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    maps = [np.ones(1 << 20) for _ in range(6)]
    del maps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print([faults() for _ in range(4)][-1])
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have rules of their own")
def test_what_is_freed_serves_again():
    def pages(how):
        done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert pages("kept") < 100 < pages("given back")
