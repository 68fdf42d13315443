"""`make attack`: all generators for minutes each, with counts in results/attack/ and every finding printed.

python -m tests.attack [--minutes 20] [--seed 1] [--only runs hub]
"""

import argparse
import json
import os
import platform
import sys
import warnings
from pathlib import Path
from typing import Any

from tests.attack.rounds import counted

GENERATORS = ("files", "formats", "calls", "values", "archives", "runs", "servers", "page", "hub", "lines", "kills")
RESULTS = Path(__file__).parents[2] / "results" / "attack"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=GENERATORS, default=GENERATORS, metavar="GENERATOR")
    parser.add_argument("--to", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # broken input warns by the thousand, which would hide the findings
    result: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "minutes": options.minutes,
        "seed": options.seed,
    }
    everything = []
    for name in options.only:
        counts, findings = counted(name, 60 * options.minutes / len(options.only), options.seed)
        result[name] = {"tried": counts.total(), **{kind: counts[kind] for kind in ("taken", "refused", "wrong")}}
        everything += findings
        print(f"{name:9} {result[name]}", flush=True)
        for finding in findings:
            print(f"  {finding}", flush=True)
    totals = {key: sum(result[name][key] for name in options.only) for key in ("tried", "taken", "refused", "wrong")}
    result["all"] = totals
    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "attack.json").write_text(json.dumps({**result, "findings": everything}, indent=1) + "\n")
    print(f"all       {totals}")
    return 1 if totals["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
