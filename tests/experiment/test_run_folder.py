"""The link to the latest run."""

from concurrent.futures import ThreadPoolExecutor

from spatialprop.experiment.run_folder import point_latest_to


def test_processes_of_one_run_may_point_to_it_at_once(tmp_path):
    run = tmp_path / "refine" / "whole"
    run.mkdir(parents=True)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: point_latest_to(run, tmp_path), range(400)))
    assert (tmp_path / "latest").resolve() == run.resolve()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "refine"]
