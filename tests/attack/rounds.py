"""A generator's tries in a process of their own, which may end at any of them."""

import multiprocessing
import time
from collections import Counter
from importlib import import_module
from random import Random
from typing import Any


def attack(name: str, seconds: float, seed: int, out: Any) -> None:
    """Try for so many seconds, and tell of each try before and after it: it may end the process."""
    judged = import_module("tests.attack.judge").judged
    import_module("spatialprop.ops").warmup()  # no try is to be charged with a compilation
    end = time.monotonic() + seconds
    for one in import_module(f"tests.attack.{name}").tries(Random(seed)):
        if time.monotonic() > end:
            break
        out.send((one.name, None, ""))
        out.send((one.name, *judged(one)))
    out.send(None)


def counted(name: str, seconds: float, seed: int) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    findings = []
    end, begun = time.monotonic() + seconds, 0
    while time.monotonic() < end:  # again where a try ended the process
        receiver, sender = multiprocessing.Pipe(duplex=False)
        arguments = (name, end - time.monotonic(), seed + begun, sender)
        process = multiprocessing.get_context("spawn").Process(target=attack, args=arguments)
        process.start()
        sender.close()
        current = "the start"
        try:
            while (told := receiver.recv()) is not None:
                current, kind, why = told
                if kind is not None:
                    counts[kind] += 1
                    if kind == "wrong":
                        findings.append(f"{name}, {current}: {why}")
        except EOFError:
            counts["wrong"] += 1
            findings.append(f"{name}, {current}: it ended the process")
        process.join()
        begun += 1
    return counts, findings
