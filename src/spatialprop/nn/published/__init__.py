"""Published weights, read from files and addresses in the formats that they were published in."""

from spatialprop.nn.published.weights import load_state, load_weights, read_state, read_weights

__all__ = ["load_state", "load_weights", "read_state", "read_weights"]
