"""The CPU kernels of `most_likely`: one row of the result at a time."""

import numpy as np

from spatialprop.ops.machine.jit import compiled


@compiled
def _enlarge_row(out, line, coarse, k, upper, lower, down, left, right, across):
    """One row of class `k`, enlarged; `line` is room for a row of the coarse map."""
    if upper == lower or down == 0:
        line[:] = coarse[k, upper]
    else:
        for j in range(len(line)):
            line[j] = (1 - down) * coarse[k, upper, j] + down * coarse[k, lower, j]
    if len(out) == len(line):
        out[:] = line
    else:
        for j in range(len(out)):
            out[j] = (1 - across[j]) * line[left[j]] + across[j] * line[right[j]]


@compiled
def largest(labels, coarse, upper, lower, down, left, right, across, first, last):
    classes, _, narrow = coarse.shape
    width = labels.shape[1]
    line = np.empty(narrow, np.float32)
    own, best = np.empty(width, np.float32), np.empty(width, np.float32)
    for i in range(first, last):
        best[:] = -np.inf
        winner = labels[i]
        winner[:] = 0
        for k in range(classes):
            _enlarge_row(own, line, coarse, k, upper[i], lower[i], down[i], left, right, across)
            for j in range(width):
                better = own[j] > best[j]
                best[j] = own[j] if better else best[j]
                winner[j] = k if better else winner[j]


@compiled
def choose(labels, places, coarse, upper, lower, down, left, right, across, cells, choice, first, last):
    classes, rows, columns = cells.shape
    width = labels.shape[1]
    line, own = np.empty(coarse.shape[2], np.float32), np.zeros(2 * columns, np.float32)
    above, below = np.empty(columns + 2, np.float32), np.empty(columns + 2, np.float32)  # framed by one cell
    best, winner = np.empty((2, columns), np.float32), np.empty((2, columns), np.int32)  # of even and odd pixels
    for i in range(first, last):
        row, odd_row = i // 2, i % 2
        near, far = max(row + odd_row - 1, 0), min(row + odd_row, rows - 1)
        best[:] = -np.inf
        winner[:] = 0
        for k in range(classes):
            if len(places) > 0:
                for j in range(width):
                    own[j] = places[i, j] == k
            else:
                _enlarge_row(own[:width], line, coarse, k, upper[i], lower[i], down[i], left, right, across)
            _frame(above, cells[k, near])
            _frame(below, cells[k, far])
            for odd in range(2):
                weights, highest, wins = choice[2 * odd_row + odd], best[odd], winner[odd]
                for j in range(columns):
                    value = (
                        weights[0, row, j] * above[j + odd]
                        + weights[1, row, j] * above[j + odd + 1]
                        + weights[2, row, j] * below[j + odd]
                        + weights[3, row, j] * below[j + odd + 1]
                        + weights[4, row, j] * own[2 * j + odd]
                    )
                    better = value > highest[j]
                    highest[j] = value if better else highest[j]
                    wins[j] = k if better else wins[j]
        for j in range(width):
            labels[i, j] = winner[j % 2, j // 2]


@compiled
def _frame(framed, line):
    framed[1:-1] = line
    framed[0], framed[-1] = line[0], line[-1]
