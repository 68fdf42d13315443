"""Small mistakes in the source, each of which the tests must notice: run by hand, `python tests/mutants.py --help`.

A mutant changes one piece of text in a copy of src/, never in the checkout, and the tests that ought to fail are run
against that copy. Its text is looked up in the whole package, so that files may move and be renamed; where the text
itself was rewritten, the script says so, and the mutant is to be given the new one. In the end the tests that failed
must pass on the unchanged source.

    python tests/mutants.py                                all of them
    python tests/mutants.py 'ops-*' data-voc-leak          some of them
    python tests/mutants.py --find                         only look whether each still has its place
    python tests/mutants.py --select '-m "not slow"'       with a part of the tests
"""

import argparse
import contextlib
import fnmatch
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
PACKAGE = "spatialprop"
_ALWAYS = ["-q", "-n", "0", "-p", "no:cacheprovider", "--tb=no", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
CAUGHT, SURVIVED, TOO_LATE, UNUSABLE = "caught", "survived", "too late", "unusable"
NOT_CHOSEN = "none of them is chosen"


class Mutant(NamedTuple):
    """One mistake.

    Attributes:
        name: What it is called on the command line; its first word is the part of the package.
        meaning: What is wrong, in a line.
        old: Text that stands just once in the package, or in those of its files that `where` names.
        new: What takes its place.
        tests: Test files, below tests/.
        only: Which of their tests, as pytest's option -k has it; empty for all.
        where: A part of the path of the file, for a text that is found more than once; empty for all files.
        seconds: How long the tests may take.
    """

    name: str
    meaning: str
    old: str
    new: str
    tests: tuple[str, ...]
    only: str = ""
    where: str = ""
    seconds: int = 400


MUTANTS = (
    # The operators, in plain PyTorch.
    Mutant(
        "ops-border-lost", "the gate that points beyond the first pixel of a line counts",
        "inside[0, :, 0] = False", "inside[0, :, 0] = True",
        ("ops/propagation/test_borders.py",),
        "outside",
    ),
    Mutant(
        "ops-border-renormalised", "what gates beyond the border lose goes to the others",
        "gates = torch.where(inside & not_first, gates, 0)",
        "kept = torch.where(inside & not_first, gates, 0)\n"
        "    gates = (kept * (gates.sum(1, keepdim=True) / kept.sum(1, keepdim=True))).nan_to_num(0, 0, 0)",
        ("ops/propagation/test_borders.py",),
        "outside",
    ),
    Mutant(
        "ops-direction-swapped", "right and left have changed places in the order of directions",
        'DIRECTIONS = ("right", "down", "left", "up")', 'DIRECTIONS = ("left", "down", "right", "up")',
        ("ops/propagation/test_contract.py",),
        "neighbour or default",
    ),
    Mutant(
        "ops-connections-swapped", "the two outer gates have changed places in one direction",
        "to_rightward(gates.unsqueeze(3), direction)",
        'to_rightward((gates.flip(1) if direction == "up" else gates).unsqueeze(3), direction)',
        ("ops/propagation/test_contract.py",),
        "neighbour",
    ),
    Mutant(
        "ops-groups-interleaved", "channel c takes group c % G, not c // (C / G)",
        "x = x.reshape(x.shape[0], groups, -1, *x.shape[2:])",
        "groups, gates = x.shape[1], gates.repeat(1, 1, x.shape[1] // groups, 1, 1)\n"
        "    x = x.reshape(x.shape[0], groups, -1, *x.shape[2:])",
        ("ops/propagation/test_contract.py",),
        "group",
    ),
    Mutant(
        "ops-tie-to-last", "where directions tie, the last one gets the gradient",
        "wins = (candidate > best)", "wins = (candidate >= best)",
        ("ops/propagation/test_gradients.py",),
        "tie",
    ),
    Mutant(
        "ops-nan-lost", "the maximum over directions prefers numbers to NaN",
        "wins = (candidate > best) | (candidate.isnan() & ~best.isnan())", "wins = candidate > best",
        ("ops/propagation/test_borders.py",),
        "nan or finite",
    ),
    Mutant(
        "ops-mean-is-sum", "merging by the mean forgets to divide",
        "(reduce(torch.add, maps) / len(directions))", "reduce(torch.add, maps)",
        ("ops/propagation/test_contract.py",),
        "equation or merging",
    ),
    Mutant(
        "ops-fake-shape", "the shape told to the compiler lacks the directions",
        'out = x.shape if merge != "none" else (x.shape[0], len(directions), *x.shape[1:])', "out = x.shape",
        ("ops/propagation/test_operator.py",),
        "opcheck_of_the_forward or meta",
    ),
    Mutant(
        "ops-clamp-is-unit", "clamp divides sums below one too",
        "return torch.where(within, gates, gates / torch.where(within, 1, total) * shrink)",
        "return gates / torch.where(total == 0, 1, total) * shrink",
        ("ops/test_normalization.py",),
    ),
    Mutant(
        "ops-sigmoid", "sigmoid gates are tanh gates",
        '"sigmoid": lambda raw, _: raw.sigmoid()', '"sigmoid": lambda raw, _: raw.tanh()',
        ("ops/test_normalization.py",),
    ),
    Mutant(
        "ops-rounding-room", "normalised gates leave no room for rounding",
        "return 1 - torch.finfo(dtype).eps / 2 - 4 * torch.finfo(state_dtype(dtype)).eps", "return 1.0",
        ("ops/test_normalization.py",),
    ),
    Mutant(
        "ops-affinity-transposed", "rows and columns of the affinity matrix have changed places",
        "groups, pixels, pixels).transpose(-1, -2)", "groups, pixels, pixels)",
        ("ops/test_affinity.py", "ops/propagation/test_theory.py"),
        "affinity_matrix or row_of_the_matrix",
    ),
    Mutant(
        "ops-spread-own-weight", "the pixel itself weighs two in the sum of weights of spread",
        "total = 1 + affinity.sum(1, keepdim=True)", "total = 2 + affinity.sum(1, keepdim=True)",
        ("ops/spreading/test_spread.py",),
        "definition or constant",
    ),
    Mutant(
        "ops-spread-border", "spread counts affinities to what lies outside",
        "affinity = torch.where(inside, affinity, 0)", "affinity = affinity * 1",
        ("ops/spreading/test_spread.py",),
        "definition or outside",
    ),
    Mutant(
        "ops-spread-backward", "on the way back of spread, hearers and heard do not change places",
        "((1, -1, -1) if transposed else (1, 1, 1))", "((1, 1, 1) if transposed else (1, 1, 1))",
        ("ops/spreading/test_gradients.py",),
        "gradcheck or ragged",
    ),
    Mutant(
        "ops-pairs-dilation", "dilation moves neighbours along columns only",
        "[(dilation * row, dilation * column) for dilation in dilations for row, column in square]",
        "[(row, dilation * column) for dilation in dilations for row, column in square]",
        ("ops/spreading/test_pairs.py",),
        "definition or order",
    ),
    Mutant(
        "ops-pairs-void", "a pair counts although its first end is void",
        "torch.where(counts & other_counts, labels == other, -1)", "torch.where(other_counts, labels == other, -1)",
        ("ops/spreading/test_pairs.py",),
        "definition or ends",
    ),
    Mutant(
        "ops-halves-accumulate", "the plain form keeps its running state in half precision",
        "x = x.to(state_dtype(dtype))", "x = x.to(dtype)",
        ("ops/propagation/test_contract.py", "ops/propagation/test_gradients.py"),
        "halves or accurate",
    ),
    Mutant(
        "ops-nan-of-a-gate", "a gate that is NaN leaves the others of its pixel alone",
        "within = total <= 1", "within = ~(total > 1)",
        ("ops/test_normalization.py",),
    ),
    Mutant(
        "ops-keeps-always", "what the backward pass needs is kept although nobody wants a gradient",
        "keep = torch.is_grad_enabled() and (x.requires_grad or gates.requires_grad)", "keep = True",
        ("ops/propagation/test_gradients.py", "ops/propagation/test_cpu.py"),
        "kept or memory",
    ),
    Mutant(
        "ops-last-channels", "where the channels of a group do not divide, the last ones add no gradient to gates",
        "parts = -(-shared // run)", "parts = shared // run",
        ("ops/propagation/test_gradients.py", "ops/propagation/test_concurrency.py"),
        "ragged or sum or strides or accurate or any_number_of_threads",
    ),
    Mutant(
        "ops-strides-of-gradients", "the gradient that arrives is read with the strides of the map",
        "(grad.stride(0), 0, *grad.stride()[1:])", "(x.stride(0), 0, *x.stride()[1:])",
        ("ops/propagation/test_gradients.py", "ops/propagation/test_cpu.py"),
        "sum or strides",
        "cpu",
    ),
    Mutant(
        "ops-spread-strides", "spread reads every tensor as if it were contiguous",
        "return flat(tensor), tensor.stride()", "return flat(tensor), tensor.clone().contiguous().stride()",
        ("ops/spreading/test_spread.py", "ops/spreading/test_gradients.py"),
        "strides",
    ),
    # The kernels of the CPU, which are compiled anew for each.
    Mutant(
        "kernel-border-lost", "the last gate of a line that points beyond its end counts",
        "after = keep_between(after, 0, min(LANES, rest - 1))", "after = keep_between(after, 0, min(LANES, rest))",
        ("ops/propagation/test_borders.py",),
        "outside",
    ),
    Mutant(
        "kernel-direction", "up scans downwards",
        "return (height - 1) * row, -row, column", "return 0, row, column",
        ("ops/propagation/test_contract.py",),
        "neighbour",
    ),
    Mutant(
        "kernel-gradient-x", "the gradient of the map lacks the factor 1 - sum of gates",
        "(one - (a + b + c)) * dh", "dh",
        ("ops/propagation/test_gradients.py",),
        "test_gradcheck",
    ),
    Mutant(
        "kernel-gradient-gates", "the gradient of one-way gates adds what it is to subtract",
        "difference = load(h, before + i) - load_lanes(xs", "difference = load(h, before + i) + load_lanes(xs",
        ("ops/propagation/test_gradients.py",),
        "test_gradcheck",
    ),
    Mutant(
        "kernel-spread-scale", "the kernel of spread divides by the sum without the pixel itself",
        "scale[:] = one\n", "scale[:] = 0.5\n",
        ("ops/spreading/test_spread.py",),
        "definition",
    ),
    Mutant(
        "kernel-spread-channels", "of four channels that spread takes at a time, the third is given the second's",
        "c = multiply_add(w, load(source, at + 2 * plane), c)", "c = multiply_add(w, load(source, at + plane), c)",
        ("ops/spreading/test_spread.py",),
        "definition or accurate",
    ),
    # Gates that the kernels normalise.
    Mutant(
        "normalize-sum-of-two", "the sum that gates are divided by lacks the third gate",
        "_factor(absolute(a) + absolute(b) + absolute(c), rule)", "_factor(absolute(a) + absolute(b), rule)",
        ("ops/propagation/test_normalization.py",),
        "equals",
    ),
    Mutant(
        "normalize-border-first", "gates that point beyond the border are zeroed before they are summed",
        "load_lanes(g, at, lanes), load_lanes(g, at + k, lanes), load_lanes(g, at + 2 * k, lanes), rule",
        "keep_between(load_lanes(g, at, lanes), 0 if i else 1, lanes), load_lanes(g, at + k, lanes),\n"
        "        keep_between(load_lanes(g, at + 2 * k, lanes), 0, min(LANES, rest - 1)), rule",
        ("ops/propagation/test_normalization.py",),
        "equals",
    ),
    Mutant(
        "normalize-unit-is-clamp", "unit leaves gates alone whose sum is below one",
        "least = np.nextafter(np.finfo(state).tiny, state(0))", "least = one",
        ("ops/propagation/test_normalization.py",),
        "equals",
    ),
    Mutant(
        "normalize-raw-way-back", "one-way gates are not divided on the way back",
        "g = divide(load_lanes(gs, gates_at + i, lanes), rule)\n        store(carried",
        "g = load_lanes(gs, gates_at + i, lanes)\n        store(carried",
        ("ops/propagation/test_normalization.py",),
        "equals",
    ),
    Mutant(
        "normalize-gradient-of-sum", "gradients of gates lack that of the sum",
        "total - total, towards)", "total - total, total - total)",
        ("ops/propagation/test_normalization.py",),
        "equals",
    ),
    Mutant(
        "normalize-sign", "the gradient of the sum has the sign of positive gates for negative ones too",
        "where_positive(absolute(gate), gradient + towards, gradient)",
        "where_positive(absolute(gate), gradient - towards, gradient)",
        ("ops/propagation/test_normalization.py",),
        "equals",
    ),
    Mutant(
        "normalize-slope", "gradients of logistic gates lack the slope of the logistic function",
        "return gradient * (gate * (one - gate))", "return gradient",
        ("ops/propagation/test_normalization.py",),
        "equals",
    ),
    Mutant(
        "normalize-nan", "a gate that is NaN counts as a very small one",
        "return where_at_most(size, size, value, x)  # NaN stays", "return value",
        ("ops/propagation/test_normalization.py",),
        "nan",
    ),
    # Networks.
    Mutant(
        "nn-units-share-gates", "units that have gates of their own all take the first ones",
        "gates = gate_sets[unit % self._gate_sets]", "gates = gate_sets[0]",
        ("nn/test_propagation.py",),
    ),
    Mutant(
        "nn-resize-corners", "resizing aligns the corners, not the pixels' areas",
        'mode="bilinear", align_corners=False, antialias=shrinks',
        'mode="bilinear", align_corners=True, antialias=shrinks',
        ("nn/test_refinement.py",),
        "resize or written",
    ),
    Mutant(
        "nn-hints-swapped", "confidence and entropy have changed places",
        'found = {"confidence": confidence, "entropy": -torch.expm1(-entropy)}',
        'found = {"entropy": confidence, "confidence": -torch.expm1(-entropy)}',
        ("nn/test_refinement.py",),
        "hints",
    ),
    Mutant(
        "nn-pairs-other-end", "a pair is read from its other end in the wrong order",
        "in zip(later.flip(1).unbind(1)", "in zip(later.unbind(1)",
        ("nn/dilated/test_affinity.py",),
        "ends or truth",
    ),
    Mutant(
        "nn-scan-direction", "a scan to the left listens to neighbours at the left",
        '"left": ((-1, 1), (0, 1), (1, 1))', '"left": ((-1, -1), (0, -1), (1, -1))',
        ("nn/dilated/test_affinity.py",),
        "scan",
    ),
    Mutant(
        "nn-head-dilation", "the branches of the affinity head are not dilated",
        "nn.Conv2d(width, width, kernel, padding=dilation * (kernel // 2), dilation=dilation)",
        "nn.Conv2d(width, width, kernel, padding=kernel // 2)",
        ("nn/dilated/test_affinity.py",),
        "branch",
    ),
    Mutant(
        "nn-joint-logarithms", "what is propagated on top of a segmenter are logarithms of probabilities",
        "self.refinement.refine(start.exp(), ", "self.refinement.refine(start, ",
        ("nn/test_joint.py",),
    ),
    Mutant(
        "nn-pad-side", "images are padded at the left and above",
        "missing = (0, size[1] - maps.shape[-1], 0, size[0] - maps.shape[-2])",
        "missing = (size[1] - maps.shape[-1], 0, size[0] - maps.shape[-2], 0)",
        ("nn/guidance/test_guidance.py",),
        "padding",
    ),
    Mutant(
        "nn-linear-transposed", "a linear layer fills a convolution with channels last",
        "tensor = tensor.reshape(-1, *place.shape[1:])",
        "tensor = tensor.reshape(-1, *place.shape[2:], place.shape[1]).movedim(-1, 1)",
        ("nn/published/test_weights.py",),
        "linear",
    ),
    Mutant(
        "nn-caffe-statistics", "Caffe's sums are taken for means",
        "scale = 0.0 if count.item() == 0 else 1 / count.item()", "scale = 1.0",
        ("nn/published/test_caffemodel.py",),
    ),
    Mutant(
        "nn-batchnorm-learns", "batch norm learns its statistics although it is to keep them",
        "if not self.train_statistics:", "if self.train_statistics:",
        ("nn/segmenters/test_resnet.py",),
    ),
    Mutant(
        "nn-deeplab-dilation", "the last two branches of DeepLab see the same surroundings",
        "DILATIONS = (6, 12, 18, 24)", "DILATIONS = (6, 12, 18, 18)",
        ("nn/segmenters/test_published.py",),
        "deeplab_vgg_computes",
    ),
    Mutant(
        "nn-context-dilation", "a layer of the context module is dilated by 6, another by 10, instead of both by 8",
        '("ct_conv3_1", 8, 4),\n    ("ct_conv4_1", 16, 8)', '("ct_conv3_1", 8, 8),\n    ("ct_conv4_1", 16, 4)',
        ("nn/segmenters/test_published.py",),
        "context_compute",
    ),
    Mutant(
        "nn-cells-moved", "DeepLab's scores are read four pixels away",
        "count, first=-_IN_FRONT, step=_STRIDE", "count, first=0, step=_STRIDE",
        ("nn/segmenters/test_published.py", "nn/segmenters/test_every_segmenter.py"),
        "deeplab_vgg_computes or tile",
    ),
    # Data.
    Mutant(
        "data-label-shifted", "labels lie one pixel beside their image",
        "part = _cut(label, window, cv2.BORDER_CONSTANT)",
        "part = _cut(np.roll(label, 1, axis=1), window, cv2.BORDER_CONSTANT)",
        ("data/loading/test_samples.py",),
    ),
    Mutant(
        "data-flip-image-only", "left-right flips leave the label as it is",
        "label, coarse = label[down, across], None", "label, coarse = label[down], None",
        ("data/loading/test_augment.py",),
    ),
    Mutant(
        "data-mirror", "left and right parts keep their names in a mirror image",
        "label = in_mirror[label]", "label = label.copy()",
        ("data/loading/test_augment.py",),
    ),
    Mutant(
        "data-seed-of-an-epoch", "all patches of an epoch are drawn alike",
        "np.random.default_rng((self.seed, key.epoch, key.index))", "np.random.default_rng((self.seed, key.epoch))",
        ("data/loading/test_samples.py",),
        where="loading/samples",
    ),
    Mutant(
        "data-void-kept", "the data set's ignore value is not turned into void",
        "return np.where(void, VOID, indices).astype(np.uint8)", "return indices.astype(np.uint8)",
        ("data/sets/test_folder.py", "data/sets/test_camvid.py"),
        "void",
    ),
    Mutant(
        "data-void-outline", "void counts as a second label of a patch",
        "np.where(label == VOID, np.uint8(0), label), size)", "label, size)",
        ("data/loading/test_patches.py",),
    ),
    Mutant(
        "data-padding-counts", "what fills up smaller samples is of class 0",
        'filled(sample["label"], VOID)', 'filled(sample["label"], 0)',
        ("data/loading/test_samples.py",),
    ),
    Mutant(
        "data-coarse-sums", "cropped coarse maps do not sum to one",
        "sampled[0] / sampled[0].sum(dim=0, keepdim=True).clamp_min(1)", "sampled[0] / 255",
        ("data/loading/test_samples.py",),
    ),
    Mutant(
        "data-coarse-half-pixel", "coarse maps are cropped half a pixel beside their image",
        "(torch.arange(count, dtype=torch.float64) + 0.5) * (length / count)",
        "torch.arange(count, dtype=torch.float64) * (length / count)",
        ("data/loading/test_samples.py",),
    ),
    Mutant(
        "data-simulate-moved", "simulated coarse maps lie two pixels beside the label",
        "columns + moved[..., 0], rows + moved[..., 1]", "columns + 2 + moved[..., 0], rows + moved[..., 1]",
        ("data/coarse/test_simulate.py",),
    ),
    Mutant(
        "data-simulate-cell", "simulated coarse maps lie a cell beside the label",
        "columns + moved[..., 0], rows + moved[..., 1]", "columns + 8 + moved[..., 0], rows + moved[..., 1]",
        ("data/coarse/test_simulate.py",),
    ),
    Mutant(
        "data-merge-smallest", "the smallest classes of a patch stay apart, not the largest",
        'np.argsort(-shares, kind="stable")', 'np.argsort(shares, kind="stable")',
        ("data/loading/test_samples.py",),
    ),
    Mutant(
        "data-processes-alike", "every process trains on the same batches",
        "start = (step * self.world + self.rank) * self.batch_size", "start = step * self.world * self.batch_size",
        ("data/loading/test_samples.py",),
    ),
    Mutant(
        "data-splits-swapped", "a folder is trained on its val and validated on its train",
        "for names in (train_splits, val_splits, test_splits)", "for names in (val_splits, train_splits, test_splits)",
        ("data/sets/test_folder.py", "data/sets/test_mixed.py", "experiment/test_experiments.py"),
        "test_folder or test_mixed or reported",
    ),
    Mutant(
        "data-voc-leak", "VOC's trainaug holds the images of the official val list",
        ".items() if name not in official}", ".items()}",
        ("data/sets/test_voc.py",),
    ),
    Mutant(
        "data-voc-void", "the border value 255 of VOC is not void",
        '    ),\n    ignore_index=VOID,\n)  # fmt: skip\nSPLITS = ("train", "val", "trainval"',
        '    ),\n    ignore_index=None,\n)  # fmt: skip\nSPLITS = ("train", "val", "trainval"',
        ("data/sets/test_voc.py",),
    ),
    Mutant(
        "data-camvid-void", "CamVid's label 11 is not void",
        "ignore_index=11,", "ignore_index=None,",
        ("data/sets/test_camvid.py",),
    ),
    Mutant(
        "data-cityscapes-rider", "riders of Cityscapes are persons",
        "{index: place for place, index in enumerate(_SCORED_IDS)}",
        "{index: place for place, index in enumerate(_SCORED_IDS)} | {25: 11}",
        ("data/sets/test_cityscapes.py",),
    ),
    Mutant(
        "data-helen-eyes", "left and right eye do not change places in a mirror image",
        "mirrored=((2, 3), (4, 5))", "mirrored=((2, 3),)",
        ("data/sets/test_helen.py",),
    ),
    Mutant(
        "data-exif", "the orientation that a camera noted is ignored",
        "return ImageOps.exif_transpose(image)", "return image",
        ("maskfiles/test_reading.py", "refiner/test_opened.py"),
        "orientation",
    ),
    # Metrics.
    Mutant(
        "metrics-union-is-sum", "IoU divides by the sum of both masks",
        "intersection / (confusion.sum(-1) + confusion.sum(-2) - intersection)",
        "intersection / (confusion.sum(-1) + confusion.sum(-2))",
        ("metrics/test_scores.py",),
    ),
    Mutant(
        "metrics-absent-classes", "classes that never occur count as zero",
        '"mIoU": per_class_iou[self.scored_classes].nanmean()',
        '"mIoU": per_class_iou[self.scored_classes].nan_to_num().mean()',
        ("metrics/test_scores.py",),
    ),
    Mutant(
        "metrics-last-batch", "only the last batch is scored",
        "self.confusion += confusion_matrix(pred, target, valid, self.num_classes)",
        "self.confusion = confusion_matrix(pred, target, valid, self.num_classes)",
        ("metrics/test_scores.py", "metrics/test_method.py"),
    ),
    Mutant(
        "metrics-void-counts", "void pixels count in every score",
        "torch.ones_like(target, dtype=torch.bool) if ignore_index is None else target != ignore_index",
        "torch.ones_like(target, dtype=torch.bool)",
        ("metrics/test_changes.py", "metrics/test_scores.py"),
    ),
    Mutant(
        "metrics-boundary-width", "the band of Boundary IoU is a pixel too wide",
        "max(1, round(self.ratio * math.hypot(*labels.shape[1:])))",
        "max(1, round(self.ratio * math.hypot(*labels.shape[1:])) + 1)",
        ("metrics/test_boundary.py",),
    ),
    Mutant(
        "metrics-boundary-void", "void has no border in Boundary IoU",
        "F.pad(labels.where(valid, nowhere), (1, 1, 1, 1), value=nowhere)",
        "F.pad(labels, (1, 1, 1, 1), value=nowhere)",
        ("metrics/test_boundary.py",),
    ),
    Mutant(
        "metrics-trimap-edge", "the last radius of the trimap curve is left out",
        "near = valid & (distance <= limit)", "near = valid & (distance < limit)",
        ("metrics/test_boundary.py",),
        "trimap",
    ),
    Mutant(
        "metrics-helen-merges", "a confusion inside a merged column of HELEN is an error",
        "right = self.confusion[labels][:, labels].sum()", "right = self.confusion.diagonal()[labels].sum()",
        ("metrics/test_helen.py",),
    ),
    Mutant(
        "metrics-changes-swapped", "changes for the worse count as right",
        "self.right += (changed & (refined == target)).sum()", "self.right += (changed & (coarse == target)).sum()",
        ("metrics/test_changes.py",),
    ),
    Mutant(
        "metrics-affinity-half", "an affinity of just 0.5 is said to be of different classes",
        "found, chosen = hits[_BINS // 2 - 1].item(), called[_BINS // 2 - 1].item()",
        "found, chosen = hits[_BINS // 2].item(), called[_BINS // 2].item()",
        ("metrics/test_affinity.py",),
    ),
    Mutant(
        "metrics-regions-diagonal", "regions of errors do not connect over corners",
        "connectivity=8", "connectivity=4",
        ("metrics/test_error_regions.py",),
        where="metrics",
    ),
    # The refiner and its files.
    Mutant(
        "refiner-restrict-ignored", "classes come out that were nowhere the most likely",
        "maps.append(found.restricted() if restrict else found)", "maps.append(found)",
        ("refiner/test_refiner.py",),
        "nowhere",
    ),
    Mutant(
        "refiner-unknown-first", "where nothing is known, the first class counts as the most likely one",
        "torch.unique(winners[known[:, 0] > 0])", "torch.unique(winners)",
        ("refiner/test_refiner.py",),
        "known",
    ),
    Mutant(
        "refiner-rough-by-one", "rough labels are averaged over cells a pixel too wide",
        "max(1, round(side / pixels))", "max(1, round(side / (pixels + 1)))",
        ("refiner/test_refiner.py", "refiner/test_light.py", "cli/test_refine.py"),
        "rough",
    ),
    Mutant(
        "refiner-rough-half", "rough labels are averaged over cells half as wide",
        "max(1, round(side / pixels))", "max(1, round(2 * side / pixels))",
        ("refiner/test_refiner.py", "refiner/test_light.py"),
        "rough",
    ),
    Mutant(
        "refiner-tiles-margin", "tiles see nothing beyond their edges",
        "margin = network.reach", "margin = 0 * network.reach",
        ("refiner/test_refiner.py",),
        "tiles",
    ),
    Mutant(
        "refiner-bgr", "red and blue have changed places in images that are read",
        '(image.convert("RGBA") if image.mode == "P" else image).convert("RGB"))',
        '(image.convert("RGBA") if image.mode == "P" else image).convert("RGB"))[..., ::-1].copy()',
        ("maskfiles/test_reading.py", "refiner/test_opened.py"),
        "images",
    ),
    Mutant(
        "refiner-believed-lost", "rough=0 refines a label map all the same",
        "replace(one, believed=True)", "one",
        ("refiner/test_refiner.py",),
        "rough",
    ),
    Mutant(
        "refiner-unjudged", "labels that nobody can judge are refined all the same",
        "believed=one.are_labels", "believed=False",
        ("refiner/test_refiner.py",),
        "judge",
    ),
    Mutant(
        "refiner-known-lost", "cells of zeros count as known",
        "known = self.values.sum(dim=1, keepdim=True) if self.known is None else self.known\n        return",
        "known = torch.ones_like(self.values[:, :1])\n        return",
        ("refiner/test_refiner.py",),
        "known or zeros",
    ),
    Mutant(
        "refiner-other-image", "every image of a batch has the labels of the first",
        "CoarseMap(place[one], present", "CoarseMap(place[labels[:1]], present",
        ("refiner/test_refiner.py",),
        "batch",
    ),
    Mutant(
        "refiner-reach", "a network sees farther than it says",
        "pixels += sum(2 * near + far", "pixels += sum(0 * near + far",
        ("refiner/test_refiner.py",),
        "tiles or reach",
    ),
    Mutant(
        "refiner-hints-of-tile", "hints are enlarged to the size of a tile",
        'F.interpolate(one.to(image.dtype), scale_factor=self.stride, mode="bilinear")',
        'F.interpolate(one.to(image.dtype), size=size, mode="bilinear")',
        ("refiner/test_refiner.py",),
        "tiles",
    ),
    Mutant(
        "nn-trust-lost", "shares are not divided by the propagated trust",
        "return x[:, 1:] / x[:, :1].clamp_min(SMALLEST_SHARE * SMALLEST_TRUST)", "return x[:, 1:]",
        ("nn/test_trusting.py", "refiner/test_refiner.py"),
        "probabilities or affinity",
    ),
    Mutant(
        "nn-hints-offset", "agreement to the left is that to the right",
        "found += [across[..., offset:], along[:, offset:], across[..., :width], along[:, :height]]",
        "found += [across[..., offset:], along[:, offset:], across[..., offset:], along[:, :height]]",
        ("nn/test_hints.py",),
    ),
    Mutant(
        "ops-choosing-corner", "the cells above right and below left of a pixel have changed places",
        "corners = [(down + i, across + j) for i in range(2) for j in range(2)]",
        "corners = [(down + j, across + i) for i in range(2) for j in range(2)]",
        ("ops/choosing/test_choosing.py",),
    ),
    Mutant(
        "ops-choosing-subpixel", "the kernel takes pixels of odd rows for those of odd columns",
        "choice[2 * odd_row + odd]", "choice[2 * odd + odd_row]",
        ("ops/choosing/test_choosing.py",),
    ),
    Mutant(
        "ops-choosing-border", "the last column of cells hears the first one from outside",
        "framed[0], framed[-1] = line[0], line[-1]", "framed[0], framed[-1] = line[0], line[0]",
        ("ops/choosing/test_choosing.py",),
    ),
    Mutant(
        "ops-choosing-ties", "of equally likely classes the last one wins",
        "better = value > highest[j]", "better = value >= highest[j]",
        ("ops/choosing/test_choosing.py",),
    ),
    Mutant(
        "refiner-bytes", "bytes are divided by 256",
        "image.to(torch.float32) / 255 if image.dtype == torch.uint8",
        "image.to(torch.float32) / 256 if image.dtype == torch.uint8",
        ("refiner/test_refiner.py",),
        "kinds or network",
    ),
    Mutant(
        "refiner-codes-lost", "labels are written as 0, 1, ... and not as the file called them",
        "return self.codes_of(refined.labels)", "return refined.labels",
        ("maskfiles/test_reading.py", "refiner/test_opened.py"),
        "masks or colours",
    ),
    Mutant(
        "refiner-palette-lost", "a palette picture loses its colours",
        "self.palette or class_colours().tobytes()", "class_colours().tobytes()",
        ("maskfiles/test_reading.py", "refiner/test_opened.py", "cli/test_refine.py"),
        "labels or palette",
    ),
    Mutant(
        "refiner-transparency-lost", "a class that was transparent is not any more",
        'picture.info["transparency"] = ', 'picture.info["was"] = ',
        ("maskfiles/test_reading.py", "refiner/test_opened.py"),
        "transparent",
    ),
    Mutant(
        "refiner-16-bits", "images of 16 bits become a little brighter",
        'scale = 257.0 if image.mode.startswith("I")', 'scale = 256.0 if image.mode.startswith("I")',
        ("maskfiles/test_reading.py", "refiner/test_opened.py"),
        "images",
    ),
    Mutant(
        "refiner-classes-lost", "probabilities of labels 3 and 7 come back as those of 0 and 1",
        '{**arrays, "classes": ', '{**arrays, "was": ',
        ("maskfiles/test_arrays.py", "maskfiles/test_reading.py", "refiner/test_opened.py"),
        "labels_that_they_belong_to or come_back",
    ),
    # Tasks and callbacks.
    Mutant(
        "tasks-best-is-worst", "the checkpoint with the lowest score is kept as the best",
        'monitor=monitor, mode=mode', 'monitor=monitor, mode="min"',
        ("experiment/test_training.py", "experiment/test_debug.py", "callbacks/test_resume.py"),
        "promises or fast or keeps",
    ),
    Mutant(
        "tasks-windows-seam", "windows have no ramps where they overlap",
        "inside *= (distance / max(1, self.overlap)).clamp(0, 1)", "inside *= 1",
        ("tasks/test_windows.py",),
        "not each_task",
    ),
    Mutant(
        "tasks-windows-sum", "where windows overlap their probabilities are added up",
        "return [ramp / total for ramp in ramps]", "return [ramp + 0 * total for ramp in ramps]",
        ("tasks/test_windows.py",),
        "not each_task",
    ),
    Mutant(
        "tasks-schedule-by-epoch", "the learning rate changes by epoch, not by step",
        '"interval": "step"', '"interval": "epoch"',
        ("tasks/test_optimization.py",),
    ),
    Mutant(
        "tasks-loss-void", "the loss is divided by all pixels, void too",
        "return total / (label != VOID).sum().clamp_min(1)", "return total / label.numel()",
        ("tasks/test_losses.py",),
    ),
    Mutant(
        "callbacks-ranked", "the best images are the worst",
        "key=lambda place: -gains[place]", "key=lambda place: gains[place]",
        ("callbacks/test_ranked.py",),
        "no_image_twice or best",
    ),
    # Experiments, reports, command line.
    Mutant(
        "experiment-seed", "the seed of an experiment does not reach its weights",
        "pl.seed_everything(config.seed, workers=True, verbose=False)\n    splits", "splits",
        ("experiment/test_resume.py", "experiment/test_training.py"),
        "exact or same_seed",
    ),
    Mutant(
        "experiment-targets", "a config from elsewhere may name any code",
        "    if trust:\n        return\n", "    return\n",
        ("experiment/test_guards.py",),
        "refused or refuses",
        "experiment",
    ),
    Mutant(
        "report-mean-and-deviation", "mean and standard deviation have changed places in report.json",
        '{"mean": self.mean, "std": self.deviation', '{"mean": self.deviation, "std": self.mean',
        ("report/sweep/test_summary.py", "report/sweep/test_average.py"),
    ),
    Mutant(
        "report-least", "the least gain of an average is the greatest",
        "return min((gain, data) for data, gain in gains.items())",
        "return max((gain, data) for data, gain in gains.items())",
        ("report/sweep/test_average.py",),
    ),
    Mutant(
        "cli-exit-code", "a file that failed leaves the exit code 0",
        "return 1 if self.failed else 0", "return 0",
        ("cli/test_refine.py",),
        "bad_file or partner",
        "refine",
    ),
    Mutant(
        "cli-overwrites", "a result may take the place of an input",
        "if path.resolve() in inputs:", "if path.resolve() in ():",
        ("cli/test_refine.py",),
        "never_replaced",
    ),
)  # fmt: skip

# What has mutants of its own, in its tests: each of those is a mutant that is caught.
OTHERS = {
    "CUDA mutants of propagate.cu": (("ops/propagation/test_cuda_source.py",), "test_mutants_are_caught"),
    "CUDA mutants of normalising in propagate.cu": (
        ("ops/propagation/test_normalization.py",),
        "test_cuda_mutants_are_caught",
    ),
    "CUDA mutants of spread.cu": (("ops/spreading/test_cuda_source.py",), "test_mutants_are_caught"),
}


@dataclass
class Row:
    """What became of a mutant."""

    name: str
    meaning: str
    file: str
    result: str
    seconds: float
    first: str = ""  # the first test that failed, or what is wrong with the mutant


class UnusableError(Exception):
    """A mutant that cannot be tried, and why."""


def main() -> int:
    options = _options()
    chosen = [mutant for mutant in MUTANTS if _wanted(mutant.name, options.names)]
    others = {name: others for name, others in OTHERS.items() if _wanted("cuda", options.names)}
    if not chosen and not others:
        sys.exit(f"no mutant is called {' or '.join(options.names)}; --find lists them")
    if options.find:
        return _find_all(chosen)
    rows = _read(options.json) if options.go_on else {}
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before what reads it is imported
    _import_what_takes_seconds()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # as Ctrl-C does: whatever was started ends, too
    with _folder(options.work) as work:
        source = _copy_of_source(work)
        if options.check == "all":
            _check_all(chosen, source, work, options.select)
        for mutant in chosen:
            if mutant.name not in rows:
                _note(_try(mutant, source, work, options.select), rows, options.json)
        for name, tests in others.items():
            if name not in rows:
                _note(_try_others(name, *tests, source, work, options.select), rows, options.json)
        if options.check == "failed":
            _check_failed(rows, source, work, options.select)
    _write(rows, options.json)
    print(table(_in_order(rows)))
    return 0 if all(row.result.startswith((CAUGHT, NOT_CHOSEN)) for row in rows.values()) else 1


def _note(row: Row, rows: dict[str, Row], path: Path | None) -> None:
    rows[row.name] = row
    _write(rows, path)
    _say(f"{row.name}: {row.result}, {row.seconds:.0f} s {row.first}")


def _in_order(rows: Mapping[str, Row]) -> list[Row]:
    return [rows[name] for name in (*(mutant.name for mutant in MUTANTS), *OTHERS) if name in rows]


def _read(path: Path | None) -> dict[str, Row]:
    if path is None or not path.exists():
        return {}
    return {row["name"]: Row(**row) for row in json.loads(path.read_text())}


def _write(rows: Mapping[str, Row], path: Path | None) -> None:
    if path is not None:
        path.write_text(json.dumps([asdict(row) for row in _in_order(rows)], indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which mutants, by name or pattern, and 'cuda'; by default all")
    parser.add_argument("--select", default="", type=shlex.split, help="further arguments for pytest")
    parser.add_argument("--json", type=Path, help="write the table here too, after each mutant")
    parser.add_argument("--go-on", action="store_true", help="try only the mutants that the file of --json lacks")
    parser.add_argument("--find", action="store_true", help="run nothing: only find the place of each mutant")
    parser.add_argument(
        "--check", default="failed", choices=("failed", "all", "none"),
        help="what must pass on the unchanged source: in the end the tests that failed, or before all that are chosen",
    )  # fmt: skip
    parser.add_argument("--work", type=Path, help="a folder for copies and compiled kernels, which is kept")
    return parser.parse_args()


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        yield Path(folder)


def _copy_of_source(work: Path) -> Path:
    """A copy of the package, beside links to all else in the checkout, where the package looks for its configs.

    Its path and times are always the same, so that compiled kernels are found again.
    """
    target = work / "src"
    if target.exists():
        shutil.rmtree(target)
    for path in ROOT.iterdir():
        link = work / path.name
        if path.name != "src" and not path.name.startswith(".") and not link.exists():
            link.symlink_to(path)
    shutil.copytree(ROOT / "src", target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return target


def find(mutant: Mutant, source: Path) -> Path:
    """The one file that holds the mutant's text."""
    files = [path for path in sorted((source / PACKAGE).rglob("*")) if path.suffix in (".py", ".cu")]
    texts = {path: path.read_text() for path in files if mutant.where in path.relative_to(source).as_posix()}
    hits = [path for path, text in texts.items() for _ in range(text.count(mutant.old))]
    if len(hits) == 1:
        return hits[0]
    found = f"at {len(hits)} places, in {', '.join(path.relative_to(source).as_posix() for path in hits)}"
    raise UnusableError(f"{_who(mutant)}: its text is {found if hits else 'nowhere'}; give it another: {mutant.old!r}")


def _who(mutant: Mutant) -> str:
    return f"mutant {mutant.name} ({mutant.meaning})"


def files_of(names: Sequence[str], whose: str) -> list[Path]:
    """Test files, relative to the checkout."""
    missing = [name for name in names if not (TESTS / name).is_file()]
    if missing:
        raise UnusableError(f"{whose}: there is no {' and no '.join(missing)} in tests/; say what took their place")
    return [(TESTS / name).relative_to(ROOT) for name in names]


def _find_all(mutants: Sequence[Mutant]) -> int:
    def place(mutant: Mutant) -> str | None:
        try:
            files_of(mutant.tests, _who(mutant))
            return find(mutant, ROOT / "src").relative_to(ROOT).as_posix()
        except UnusableError as error:
            print(error)
            return None

    places = {mutant.name: found for mutant in mutants if (found := place(mutant))}
    for name, found in places.items():
        print(f"{name}: {found}")
    print(f"{len(places)} of {len(mutants)} have their place")
    return 0 if len(places) == len(mutants) else 1


def _check_all(mutants: Sequence[Mutant], source: Path, work: Path, select: Sequence[str]) -> None:
    """Run all tests of all mutants on the unchanged source, which must pass."""
    wanted: dict[str, set[str]] = {}
    files: set[Path] = set()
    for mutant in mutants:
        with contextlib.suppress(UnusableError):  # which is said when its turn comes
            for path in files_of(mutant.tests, _who(mutant)):
                files.add(path)
                wanted.setdefault(path.name, set()).add(mutant.only)
    parts = [
        name if "" in some else f"({name} and ({' or '.join(f'({one})' for one in sorted(some))}))"
        for name, some in sorted(wanted.items())
    ]
    if files:
        code, output, seconds = _pytest(
            [*map(str, sorted(files)), "-k", " or ".join(parts), *select], source, work, 3600
        )
        _say(f"unchanged source, all tests: {_last_line(output)}, {seconds:.0f} s")
        if code != 0:
            sys.exit(f"the tests do not pass on the unchanged source ({code}):\n{output[-4000:]}")


def _check_failed(rows: Mapping[str, Row], source: Path, work: Path, select: Sequence[str]) -> None:
    """Run the tests that failed on the unchanged source; one that fails there too has caught nothing."""
    tests = sorted({row.first for row in rows.values() if row.result == CAUGHT and row.first.startswith("tests/")})
    if not tests:
        return
    code, output, seconds = _pytest([*tests, *select], source, work, 3600)
    _say(f"unchanged source, the tests that failed: {_last_line(output)}, {seconds:.0f} s")
    broken = tests if code not in (0, 1) else _failed(output)
    for row in rows.values():
        if row.result == CAUGHT and row.first in broken:
            row.result, row.first = UNUSABLE, f"{row.first} does not pass on the unchanged source either"


def _last_line(output: str) -> str:
    return output.strip().rpartition("\n")[2]


def _try(mutant: Mutant, source: Path, work: Path, select: Sequence[str]) -> Row:
    row = Row(mutant.name, mutant.meaning, "", UNUSABLE, 0.0)
    try:
        files = files_of(mutant.tests, _who(mutant))
        path = find(mutant, source)
    except UnusableError as error:
        row.first = str(error)
        return row
    row.file = path.relative_to(source).as_posix()
    text, times = path.read_text(), path.stat()
    only = ["-k", mutant.only] if mutant.only else []
    try:
        path.write_text(text.replace(mutant.old, mutant.new))
        arguments = ["-x", *map(str, files), *only, *select]
        code, output, row.seconds = _pytest(arguments, source, work, mutant.seconds)
    finally:
        path.write_text(text)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    failed = _failed(output)
    row.first = failed[0] if failed else ""
    row.result = {None: TOO_LATE, 0: SURVIVED, 1: CAUGHT, 2: CAUGHT}.get(code, UNUSABLE)
    if code is not None and code < 0:
        row.result, row.first = CAUGHT, f"the tests crashed, signal {-code}"
    elif row.result == UNUSABLE:
        row.first = "no test was selected" if code == 5 else output[-300:].replace("\n", " ")
    return row


def _try_others(name: str, files: tuple[str, ...], only: str, source: Path, work: Path, select: Sequence[str]) -> Row:
    """Tests that hold mutants of their own: as many are caught as tests pass."""
    try:
        found = files_of(files, name)
    except UnusableError as error:
        return Row(name, "see the tests", "", UNUSABLE, 0.0, str(error))
    code, output, seconds = _pytest([*map(str, found), "-k", only, *select], source, work, 1800)
    count = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", output)}
    caught, total = count.get("passed", 0), sum(count.values())
    if code == 5:
        return Row(name, "see the tests", str(found[0]), NOT_CHOSEN, seconds)
    result = f"{CAUGHT}, {caught} of {total}" if code == 0 and caught == total else f"{caught} of {total} caught"
    return Row(name, "see the tests", str(found[0]), result, seconds, " ".join(_failed(output)))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _failed(output: str) -> list[str]:
    return re.findall(r"^(?:FAILED|ERROR) (tests/\S+?(?:\[.*?\])?)(?: - .*)?$", output, re.MULTILINE)


def _environment(source: Path, work: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(source),
        "PYTHONPYCACHEPREFIX": str(work / "pycache"),
        "NUMBA_CACHE_DIR": str(work / "numba"),  # where each change to a kernel has files of its own
        "HYPOTHESIS_STORAGE_DIRECTORY": str(work / "hypothesis"),
        "COLUMNS": "1000",  # so that no name of a test is cut off
    }


def _pytest(arguments: Sequence[str], source: Path, work: Path, seconds: float) -> tuple[int | None, str, float]:
    """The exit code, None where it took too long, what pytest said, and how long it took.

    It is forked from this process, which has imported what takes seconds and nothing of the package.
    """
    temporary = Path(tempfile.mkdtemp(dir=work))
    environment = {**_environment(source, work), "TMPDIR": str(temporary)}
    said = temporary / "said"
    begun = time.monotonic()
    process = os.fork()
    if process == 0:
        _be_pytest([*_ALWAYS, *arguments], source, work, environment, said)
    with contextlib.suppress(OSError):
        os.setpgid(process, process)  # as it does itself: whichever comes first
    code = None
    try:
        code = _wait(process, begun + seconds)
        taken = time.monotonic() - begun
        output = said.read_text(errors="replace") if said.exists() else ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)  # whatever it has started, too
        if code is None:
            os.waitpid(process, 0)
        shutil.rmtree(temporary, ignore_errors=True)
    return code, output, taken


def _wait(process: int, until: float) -> int | None:
    while time.monotonic() < until:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    return None


def _be_pytest(arguments: list[str], source: Path, work: Path, environment: Mapping[str, str], said: Path) -> NoReturn:
    code = 70
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        file = os.open(said, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(ROOT)
        tempfile.tempdir = None
        sys.modules["__main__"] = types.ModuleType("__main__")  # or processes that tests start would import this file
        sys.argv, sys.pycache_prefix = ["pytest", *arguments], str(work / "pycache")
        sys.path[:] = [str(source), str(ROOT), *(path for path in sys.path if Path(path) != TESTS)]
        with contextlib.suppress(ImportError):
            from numba.core import config

            config.reload_config()  # where compiled kernels are kept
        found = importlib.util.find_spec(PACKAGE)
        if found is None or found.origin is None or not Path(found.origin).is_relative_to(source):
            raise RuntimeError(f"the copy of the source is not the one that Python imports: {found}")
        import pytest

        code = int(pytest.main(arguments))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _import_what_takes_seconds() -> None:
    for name in ("pytest", "torch", "numba", "cv2", "scipy.io", "torchmetrics", "pytorch_lightning", "albumentations"):
        with contextlib.suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)


def table(rows: Sequence[Row]) -> str:
    """All rows in Markdown, and how many mutants were caught."""
    lines = ["| | mutant | what is wrong | result | seconds | first test that fails |", "|---|---|---|---|---|---|"]
    for number, row in enumerate(rows, start=1):
        first = row.first.replace("|", "\\|")
        lines.append(f"| {number} | {row.name} | {row.meaning} | {row.result} | {row.seconds:.0f} | {first} |")
    ours = [row for row in rows if row.name not in OTHERS]
    caught = sum(row.result == CAUGHT for row in ours)
    lines += ["", f"{caught} of {len(ours)} caught, in {sum(row.seconds for row in rows):.0f} s."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
