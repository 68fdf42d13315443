"""Scores of several methods on the same images."""

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics import Metric

from spatialprop.data import VOID, LabelSet
from spatialprop.metrics import HelenFScores, MethodScores, RefinementChanges, SegmentationScores, correct_near_borders
from spatialprop.metrics.helen import CLASSES
from spatialprop.tasks.comparison import ORACLE, Comparison, Validation

LABELS = LabelSet("shapes", ("background", "disc", "bar"), ignore_index=VOID, scored_classes=(1, 2))


def make_image(seed, height=40, width=50):
    """An image, coarse probabilities, truth with void, and a result."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(3, (1, height // 10, width // 10), generator=generator)
    label = label.repeat_interleave(10, 1).repeat_interleave(10, 2)
    refined = torch.roll(label, 1, dims=2)
    label = label.masked_fill(torch.rand(label.shape, generator=generator) < 0.1, VOID)
    coarse = torch.rand(1, 3, height, width, generator=generator).softmax(dim=1)
    image = torch.randint(256, (1, 3, height, width), generator=generator) / 255
    return image, coarse, label, refined


class Recorder:
    """A baseline that remembers what it was given and answers with one class."""

    def __init__(self):
        self.given = []

    def __call__(self, image, probabilities):
        self.given.append((image, probabilities))
        return np.full(image.shape[:2], 2, np.int32)


def test_every_method_is_scored_as_its_metrics_do():
    comparison = Comparison(LABELS, ("refined",), {"all_bars": Recorder()})
    options = {"ignore_index": VOID, "scored_classes": (1, 2)}
    expected = {name: MethodScores(3, **options) for name in ("coarse", "refined", "all_bars", ORACLE)}
    changes = {name: RefinementChanges(ignore_index=VOID) for name in ("refined", "all_bars")}
    for seed in range(3):
        image, coarse, label, refined = make_image(seed)
        given = comparison.update(image, coarse, label, {"refined": refined})
        chosen = coarse.argmax(dim=1)
        results = {
            "coarse": chosen,
            "refined": refined,
            "all_bars": torch.full_like(label, 2),
            ORACLE: correct_near_borders(chosen, label, radius=8, ignore_index=VOID),
        }
        assert given.keys() == results.keys()
        for name, result in results.items():
            assert torch.equal(given[name], result)
            expected[name].update(result, label)
        for name, metric in changes.items():
            metric.update(chosen, results[name], label)
    computed = comparison.compute()
    assert list(computed) == ["coarse", "refined", "all_bars", ORACLE]
    for name, scores in expected.items():
        assert {key: computed[name][key] for key in scores.compute()} == scores.compute()
    for name, metric in changes.items():
        assert computed[name]["changes"] == {key: share.item() for key, share in metric.compute().items()}
    assert "changes" not in computed["coarse"]
    assert "changes" not in computed[ORACLE]


def test_baselines_get_bytes_and_probabilities():
    baseline = Recorder()
    comparison = Comparison(LABELS, (), {"all_bars": baseline})
    image, coarse, label, _ = make_image(0)
    comparison.update(image, coarse.double(), label, {})
    ((pixels, probabilities),) = baseline.given
    assert (pixels.dtype, pixels.shape) == (np.uint8, (40, 50, 3))
    assert np.array_equal(pixels, (image[0] * 255).round().byte().permute(1, 2, 0).numpy())
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (3, 40, 50))
    np.testing.assert_array_equal(probabilities, coarse[0].numpy())


def test_oracle_mends_borders_only():
    comparison = Comparison(LABELS, (), {})
    label = torch.zeros(1, 40, 40, dtype=torch.int64)
    label[..., 20:] = 1
    coarse = torch.zeros(1, 3, 40, 40)
    coarse[:, 2] = 1  # wrong everywhere
    oracle = comparison.update(torch.zeros(1, 3, 40, 40), coarse, label, {})[ORACLE]
    assert torch.equal(oracle[..., 12:28], label[..., 12:28])
    assert (oracle[..., :12] == 2).all()
    assert (oracle[..., 28:] == 2).all()
    assert comparison.compute()[ORACLE]["pixel_accuracy"] == pytest.approx(16 / 40)


def test_milliseconds_are_the_median_of_what_ran_inside(monkeypatch):
    clock = iter([0.0, 0.5, 1.0, 1.02, 2.0, 2.01])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    comparison = Comparison(LABELS, ("refined",), {})
    for seed in range(3):
        with comparison.timed("refined", torch.device("cpu")):
            image, coarse, label, refined = make_image(seed)
        comparison.update(image, coarse, label, {"refined": refined})
    computed = comparison.compute()
    assert computed["refined"]["milliseconds"] == pytest.approx(20)
    assert "milliseconds" not in computed["coarse"]


def test_what_is_timed_and_fails_is_not_counted():
    comparison = Comparison(LABELS, ("refined",), {})
    with pytest.raises(RuntimeError, match="broken"), comparison.timed("refined", torch.device("cpu")):
        raise RuntimeError("broken")
    assert not any(comparison.seconds.values())


def test_where_nothing_changes_no_share_of_it_is_right():
    comparison = Comparison(LABELS, ("refined",), {})
    image, coarse, label, _ = make_image(0)
    comparison.update(image, coarse, label, {"refined": coarse.argmax(dim=1)})
    changes = comparison.compute()["refined"]["changes"]
    assert changes == {"changed": 0, "right": None, "wrong": None, "neutral": None}


def test_reset_forgets_images_and_times():
    comparison = Comparison(LABELS, ("refined",), {"all_bars": Recorder()})

    def score(seed):
        image, coarse, label, refined = make_image(seed)
        comparison.update(image, coarse, label, {"refined": refined})
        results = comparison.compute()
        del results["all_bars"]["milliseconds"]
        return results

    first = score(0)
    comparison.reset()
    assert not any(comparison.seconds.values())
    second = score(1)
    comparison.reset()
    assert score(0) == first != second


def test_comparison_moves_and_is_saved_with_its_module():
    module = nn.Module()
    module.comparison, module.validation = Comparison(LABELS, ("refined",), {}), Validation(LABELS, ("coarse",))
    module.to("meta")
    metrics = [part for part in module.modules() if isinstance(part, Metric)]
    assert len(metrics) == 3 * len(("coarse", "refined", ORACLE)) + len(("refined",)) + len(("coarse",))
    assert {metric.device.type for metric in metrics} == {"meta"}
    assert {metric.segmentation.device.type for metric in module.comparison.scores.values()} == {"meta"}
    assert module.state_dict() == {}  # scores are no weights


def test_validation_scores_each_method_and_starts_again():
    validation = Validation(LABELS, ("coarse", "refined"))
    for first, last in ((0, 2), (2, 5)):
        expected = {name: SegmentationScores(3, ignore_index=VOID, scored_classes=(1, 2)) for name in ("a", "b")}
        for seed in range(first, last):
            _, coarse, label, refined = make_image(seed)
            scores = nn.functional.one_hot(refined, 3).permute(0, 3, 1, 2).float()
            validation.update(label, {"coarse": coarse, "refined": scores})
            expected["a"].update(coarse.argmax(dim=1), label)
            expected["b"].update(refined, label)
        results = validation.compute_and_reset()
        assert list(results) == ["val/coarse_mIoU", "val/refined_mIoU"]
        assert results["val/coarse_mIoU"] == expected["a"].compute()["mIoU"]
        assert results["val/refined_mIoU"] == expected["b"].compute()["mIoU"]


FACES = LabelSet("faces", CLASSES, ignore_index=VOID)


def faces(seed, height=24, width=30):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 11, height, width, generator=generator).softmax(dim=1)
    label = torch.randint(11, (1, height, width), generator=generator)
    refined = torch.where(torch.rand(label.shape, generator=generator) < 0.7, label, 0)
    return coarse, label.masked_fill(torch.rand(label.shape, generator=generator) < 0.1, VOID), refined


def test_faces_are_scored_by_the_columns_of_helen():
    comparison = Comparison(FACES, ("refined",), {})
    expected = {name: HelenFScores(ignore_index=VOID) for name in ("coarse", "refined")}
    for _ in range(2):
        for seed in range(2):
            coarse, label, refined = faces(seed)
            comparison.update(torch.zeros(1, 3, 24, 30), coarse, label, {"refined": refined})
            expected["coarse"].update(coarse.argmax(dim=1), label)
            expected["refined"].update(refined, label)
        computed = comparison.compute()
        for name, metric in expected.items():
            columns = {kind: {key: share.item() for key, share in of.items()} for kind, of in metric.compute().items()}
            assert computed[name]["helen"] == columns
            metric.reset()
        assert set(computed) - set(expected) == {ORACLE}
        assert computed[ORACLE]["helen"]["F"]["overall"] > computed["coarse"]["helen"]["F"]["overall"]
        comparison.reset()


@pytest.mark.parametrize("classes", [("background", "disc", "bar"), CLASSES[:-1], (*CLASSES[:2], *CLASSES[:1:-1])])
def test_other_classes_have_no_columns_of_helen(classes):
    comparison = Comparison(LabelSet("others", classes), (), {})
    label = torch.ones(1, 8, 8, dtype=torch.int64)
    comparison.update(torch.zeros(1, 3, 8, 8), torch.full((1, len(classes), 8, 8), 0.1), label, {})
    assert "helen" not in comparison.compute()["coarse"]
