import subprocess
import sys

import pytest

import spatialprop
from spatialprop.cli import main
from tests.report.folders import scores, write_job, write_run


def test_a_run_is_reported(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("| method   | mIoU |")
    assert printed[-1] == str(folder / "report.html")
    assert (folder / "report.html").is_file()


def test_a_run_without_scores_is_reported(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    assert main(["report", str(tmp_path)]) == 0
    assert "there is no metrics.json" in capsys.readouterr().out


def test_a_multirun_is_reported(tmp_path, capsys):
    write_job(tmp_path, 0, ["propagation=one_way", "seed=1"], {"coarse": scores(0.7), "refined": scores(0.8)})
    write_job(tmp_path, 1, ["propagation=three_way", "seed=1"])
    assert main(["report", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| one_way     | refined |   1 | 80.0 |            +10.0 |" in printed
    assert "propagation=three_way seed=1" in printed
    assert printed.splitlines()[-1] == str(tmp_path / "report.html")


@pytest.mark.parametrize(
    ("folder", "message"),
    [("missing", "is not a folder"), (".", "holds none of metrics.json"), ("broken", "is not JSON")],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, capsys, folder, message):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metrics.json").write_text("{")
    if folder == ".":
        (tmp_path / "broken" / "metrics.json").unlink()
    assert main(["report", str(tmp_path / folder)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("spatialprop report: ")
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["reprot"], ["report"], ["report", "a", "b"]])
def test_wrong_words_get_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: spatialprop" in capsys.readouterr().err


def test_the_words_of_the_command_line_are_the_default(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["spatialprop", "report", str(tmp_path / "missing")])
    assert main() == 2
    assert "missing" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"spatialprop {spatialprop.__version__}\n"


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_hydras_words_are_passed_on(command, monkeypatch):
    passed = []
    monkeypatch.setattr("spatialprop.experiment.overrides.run", lambda *given: passed.append(given))
    assert main([command, "--multirun", "seed=1,2", "--help"]) == 0
    assert passed == [(command, ["--multirun", "seed=1,2", "--help"])]


def test_training_without_its_extra_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "hydra", None)
    assert main(["train"]) == 2
    assert "pip install 'spatialprop[train]'" in capsys.readouterr().err


@pytest.mark.slow
def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "spatialprop", "train", "--cfg", "job"], capture_output=True, text=True
    )
    assert "connection: three_way" in done.stdout


def imported_by(code: str) -> set[str]:
    """Names of the heavy packages that some code imports."""
    heavy = {"torch", "matplotlib", "numpy", "lightning", "pytorch_lightning", "hydra", "cv2", "wandb"}
    program = f"{code}\nimport sys\nprint(*{heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_nothing_heavy():
    code = """
import spatialprop
from spatialprop.cli import main
try:
    main(["--help"])
except SystemExit as stopped:
    assert stopped.code == 0
"""
    assert imported_by(code) == set()


def test_a_report_needs_neither_lightning_nor_hydra():
    code = "import spatialprop.report.page, spatialprop.report.sweep.page"
    assert not imported_by(code) & {"lightning", "pytorch_lightning", "hydra"}
