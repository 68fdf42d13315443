"""How long the page takes in a headless Chromium: python benchmarks/page.py FOLDER

FOLDER is the static page, as `make demo` builds it (build/page). The same page behind `spatialprop serve` is measured
too. The photograph is examples/coffee.jpg, 600 x 400 pixels, with a mask of three classes; each figure is the median of
nine, as the page itself shows it: from the request until what is to be drawn is there. Writes
results/benchmarks/page.md.
"""

import argparse
import functools
import http.server
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from spatialprop.files import write_file

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
RUNS = 9
RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / "page.md"


def measure(browser: Browser, address: str) -> dict[str, float]:
    """Seconds until the page is ready, and milliseconds of a refinement and, where there are any, of affinities."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("html[data-ready=yes]")
    found: dict[str, float] = {"ready": time.perf_counter() - start}
    page.click("#example")
    page.wait_for_selector('#status:has-text("Refined in")', timeout=120_000)
    refined = []
    for _ in range(RUNS):
        page.evaluate("() => { document.querySelector('#status').textContent = ''; }")
        page.click("#refine")
        page.wait_for_selector('#status:has-text("Refined in")')
        refined.append(milliseconds(page))
    found["refine"] = statistics.median(refined)
    if page.is_enabled("[value=explain]"):
        page.check("[value=explain]")
        box = page.locator("#view").bounding_box()
        assert box is not None
        explained = []
        for run in range(RUNS):
            page.evaluate("() => { document.querySelector('#status').textContent = ''; }")
            page.mouse.click(box["x"] + box["width"] * (0.3 + 0.04 * run), box["y"] + box["height"] / 2)
            page.wait_for_selector('#status:has-text("Affinities in")')
            explained.append(milliseconds(page))
        found["affinity"] = statistics.median(explained)
    page.close()
    return found


def milliseconds(page: Any) -> float:
    said = re.search(r"in (\d+) ms", page.text_content("#status"))
    assert said is not None
    return float(said[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    command = [sys.executable, "-m", "spatialprop", "serve", "--no-browser"]
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as host,
        sync_playwright() as drivers,
    ):
        threading.Thread(target=host.serve_forever, daemon=True).start()
        assert process.stdout is not None
        served = re.search(r"http://\S+", process.stdout.readline())
        assert served is not None
        browser = drivers.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        rows = {
            "`spatialprop serve`": measure(browser, served[0]),
            "static": measure(browser, f"http://127.0.0.1:{host.server_address[1]}/"),
        }
        version = browser.version
        browser.close()
        process.send_signal(signal.SIGINT)
        host.shutdown()
    load = f"{os.getloadavg()[0]:.0f} processes that wanted a core" if os.getloadavg()[0] > 2 else "otherwise idle"
    lines = [
        f"600 x 400 pixels, three classes, medians of {RUNS}; Chromium {version.split('.')[0]}, headless, on a machine "
        f"of {os.cpu_count()} cores, {load}. `python benchmarks/page.py build/page`",
        "",
        "| | page ready | refine | affinities of a click |",
        "|---|---:|---:|---:|",
    ]
    for name, found in rows.items():
        explained = f"{found['affinity']:.0f} ms" if "affinity" in found else "not there"
        lines.append(f"| {name} | {found['ready']:.1f} s | {found['refine']:.0f} ms | {explained} |")
    write_file(RESULT, "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
