from spatialprop import ops
from spatialprop.cli import main


def test_all_kernels_are_compiled(monkeypatch, capsys):
    called = []
    monkeypatch.setattr(ops, "warmup", lambda: called.append(True), raising=False)
    assert main(["warmup"]) == 0
    assert called == [True]
    assert "All kernels are compiled" in capsys.readouterr().out
