"""The CPU kernels of `most_likely`: one row of the result at a time."""

import numpy as np

from spatialprop.ops.machine.jit import compiled


@compiled
def _widen(lines, held, coarse, row, left, right, across):
    """Row `row` of every class, enlarged along the row, in one of the two places of `lines` (classes, 2, width)."""
    place = row % 2
    if held[place] != row:
        held[place] = row
        wider = across.any()
        for k in range(len(lines)):
            line, source = lines[k, place], coarse[k, row]
            if wider:
                for j in range(len(line)):
                    line[j] = (1 - across[j]) * source[left[j]] + across[j] * source[right[j]]
            else:
                for j in range(len(line)):
                    line[j] = source[left[j]]


@compiled
def _between(out, upper, lower, down):
    for j in range(len(out)):
        out[j] = (1 - down) * upper[j] + down * lower[j]


@compiled
def largest(labels, coarse, upper, lower, down, left, right, across, first, last):
    classes, width = len(coarse), labels.shape[1]
    lines, held = np.empty((classes, 2, width), np.float32), np.full(2, -1)
    own, best = np.empty(width, np.float32), np.empty(width, np.float32)
    for i in range(first, last):
        one, other = upper[i], lower[i] if down[i] > 0 else upper[i]
        _widen(lines, held, coarse, one, left, right, across)
        _widen(lines, held, coarse, other, left, right, across)
        best[:] = -np.inf
        winner = labels[i]
        winner[:] = 0
        for k in range(classes):
            _between(own, lines[k, one % 2], lines[k, other % 2], down[i])
            for j in range(width):
                better = own[j] > best[j]
                best[j] = own[j] if better else best[j]
                winner[j] = np.int32(k) if better else winner[j]


@compiled
def choose(labels, places, coarse, upper, lower, down, left, right, across, cells, choice, first, last):
    """`left`, `right` and `across` are for all even columns, then for all odd ones."""
    classes, rows, columns = cells.shape
    width = labels.shape[1]
    lines, held = np.empty((len(coarse), 2, 2 * columns), np.float32), np.full(2, -1)
    own, has = np.empty(2 * columns, np.float32), np.zeros(2 * columns, np.int32)
    above, below = np.empty(columns + 2, np.float32), np.empty(columns + 2, np.float32)  # framed by one cell
    best, winner = np.empty((2, columns), np.float32), np.empty((2, columns), np.int32)  # of even and odd pixels
    for i in range(first, last):
        row, odd_row = i // 2, i % 2
        near, far = max(row + odd_row - 1, 0), min(row + odd_row, rows - 1)
        one, other = upper[i], lower[i] if down[i] > 0 else upper[i]
        _widen(lines, held, coarse, one, left, right, across)
        _widen(lines, held, coarse, other, left, right, across)
        if len(places) > 0:
            for j in range(width):
                has[j % 2 * columns + j // 2] = places[i, j]
        best[:] = -np.inf
        winner[:] = 0
        for k in range(classes):
            if len(places) > 0:
                for j in range(2 * columns):
                    own[j] = has[j] == k
            else:
                _between(own, lines[k, one % 2], lines[k, other % 2], down[i])
            _frame(above, cells[k, near])
            _frame(below, cells[k, far])
            for odd in range(2):
                weights, highest, wins = choice[2 * odd_row + odd], best[odd], winner[odd]
                itself = own[odd * columns : (odd + 1) * columns]
                for j in range(columns):
                    value = (
                        weights[0, row, j] * above[j + odd]
                        + weights[1, row, j] * above[j + odd + 1]
                        + weights[2, row, j] * below[j + odd]
                        + weights[3, row, j] * below[j + odd + 1]
                        + weights[4, row, j] * itself[j]
                    )
                    better = value > highest[j]
                    highest[j] = value if better else highest[j]
                    wins[j] = np.int32(k) if better else wins[j]
        for j in range(width):
            labels[i, j] = winner[j % 2, j // 2]


@compiled
def _frame(framed, line):
    framed[1:-1] = line
    framed[0], framed[-1] = line[0], line[-1]
