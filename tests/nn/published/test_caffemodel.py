"""Parameters out of Caffe's own files, new and old, damaged and whole."""

import pytest
import torch
from torch import nn

from spatialprop.nn.published import load_weights
from spatialprop.nn.published.caffemodel import read_caffemodel
from tests.nn.published.caffemodels import caffemodel, field, layers_of, varint

CONVOLUTION = torch.arange(2 * 3 * 3 * 3.0).reshape(2, 3, 3, 3)
MATRIX = torch.arange(200 * 7.0).reshape(200, 7)
BIAS = torch.tensor([0.5, -1.5])


def written(tmp_path, content, name="net.caffemodel"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("old", [False, True])
def test_convolutions_and_matrices(tmp_path, old):
    layers = [
        ("conv1_1", "Convolution", [CONVOLUTION, BIAS]),
        ("fc6", "InnerProduct", [MATRIX, torch.arange(200.0)]),
        ("upscore", "Deconvolution", [CONVOLUTION]),
    ]
    state = read_caffemodel(written(tmp_path, caffemodel(layers, old=old)))
    assert list(state) == ["conv1_1.weight", "conv1_1.bias", "fc6.weight", "fc6.bias", "upscore.weight"]
    assert torch.equal(state["conv1_1.weight"], CONVOLUTION)
    assert torch.equal(state["conv1_1.bias"], BIAS)
    assert torch.equal(state["fc6.weight"], MATRIX)
    assert torch.equal(state["fc6.bias"], torch.arange(200.0))
    assert torch.equal(state["upscore.weight"], CONVOLUTION)


def test_batch_norm_is_divided_by_what_it_was_summed_over(tmp_path):
    mean, variance = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    batch_norm = [mean * 999, variance * 999, torch.tensor([999.0])]
    layers = [("bn", "BatchNorm", batch_norm), ("scale", "Scale", [torch.tensor([5.0, 6.0]), BIAS])]
    state = read_caffemodel(written(tmp_path, caffemodel(layers)))
    torch.testing.assert_close(state["bn.running_mean"], mean)
    torch.testing.assert_close(state["bn.running_var"], variance)
    assert torch.equal(state["scale.weight"], torch.tensor([5.0, 6.0]))
    assert torch.equal(state["scale.bias"], BIAS)


def test_layers_without_parameters_and_branches_that_share_them_are_left_out(tmp_path):
    layers = [("relu", "ReLU", []), ("conv1", "Convolution", [CONVOLUTION])]
    layers += [(f"conv1_{branch}", "Convolution", [CONVOLUTION]) for branch in ("res075", "res05")]
    assert list(read_caffemodel(written(tmp_path, caffemodel(layers)))) == ["conv1.weight"]


def test_numbers_of_eight_bytes(tmp_path):
    shape = field(1, varint(2))
    blob = field(8, torch.tensor([0.5, -1.5], dtype=torch.float64).numpy().tobytes()) + field(7, shape)
    layer = field(1, b"conv") + field(2, b"Convolution") + field(7, blob)
    state = read_caffemodel(written(tmp_path, field(100, layer)))
    assert torch.equal(state["conv.weight"], BIAS)


def test_fills_a_network(tmp_path):
    torch.manual_seed(0)
    saved, loaded = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)
    state = {f"conv.{part}": tensor.detach() for part, tensor in saved.state_dict().items()}
    path = written(tmp_path, caffemodel(layers_of(state)))
    load_weights(loaded, path, {"conv.weight": "weight", "conv.bias": "bias"})
    assert torch.equal(loaded.weight, saved.weight)
    assert torch.equal(loaded.bias, saved.bias)


def test_agrees_with_protocol_buffers(tmp_path):
    """The same file, written by the real thing."""
    protobuf = pytest.importorskip("google.protobuf")
    assert protobuf
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    Field = descriptor_pb2.FieldDescriptorProto  # noqa: N806
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    fields = {
        "BlobShape": [("dim", 1, Field.TYPE_INT64, "many", None)],
        "BlobProto": [
            ("shape", 7, Field.TYPE_MESSAGE, "one", "BlobShape"),
            ("data", 5, Field.TYPE_FLOAT, "many", None),
            ("diff", 6, Field.TYPE_FLOAT, "many", None),
        ],
        "LayerParameter": [
            ("name", 1, Field.TYPE_STRING, "one", None),
            ("type", 2, Field.TYPE_STRING, "one", None),
            ("blobs", 7, Field.TYPE_MESSAGE, "many", "BlobProto"),
            ("phase", 10, Field.TYPE_INT32, "one", None),
        ],
        "NetParameter": [
            ("name", 1, Field.TYPE_STRING, "one", None),
            ("layer", 100, Field.TYPE_MESSAGE, "many", "LayerParameter"),
        ],
    }
    for message, members in fields.items():
        described = file.message_type.add(name=message)
        for name, number, kind, count, of in members:
            label = Field.LABEL_REPEATED if count == "many" else Field.LABEL_OPTIONAL
            member = described.field.add(name=name, number=number, type=kind, label=label)
            if of:
                member.type_name = f".caffe.{of}"
            elif count == "many":
                member.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    net = message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))(name="net")
    for name, tensors in {"conv": [CONVOLUTION, BIAS], "relu": [], "fc": [MATRIX]}.items():
        layer = net.layer.add(name=name, type="InnerProduct" if name == "fc" else "Convolution", phase=1)
        for tensor in tensors:
            blob = layer.blobs.add(data=tensor.flatten().tolist(), diff=[0.0])
            blob.shape.dim.extend(tensor.shape)
    state = read_caffemodel(written(tmp_path, net.SerializeToString()))
    assert list(state) == ["conv.weight", "conv.bias", "fc.weight"]
    assert torch.equal(state["conv.weight"], CONVOLUTION)
    assert torch.equal(state["conv.bias"], BIAS)
    assert torch.equal(state["fc.weight"], MATRIX)


# What is wrong is named


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_truncated_file(tmp_path, share):
    whole = caffemodel([("conv1_1", "Convolution", [CONVOLUTION, BIAS])])
    path = written(tmp_path, whole[: int(share * len(whole))], "cut.caffemodel")
    with pytest.raises(ValueError, match=r"cannot read weights from .*cut\.caffemodel, is it truncated\?"):
        load_weights(nn.Conv2d(3, 2, 3), path)


def test_file_cut_between_two_layers_lacks_the_second(tmp_path):
    path = written(tmp_path, caffemodel([("conv", "Convolution", [CONVOLUTION])]))
    with pytest.raises(ValueError, match=r"net\.caffemodel does not fit Conv2d: missing: conv\.bias"):
        load_weights(nn.Conv2d(3, 2, 3), path, {"conv.weight": "weight", "conv.bias": "bias"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html><body>not found</body></html>" * 9, "is it truncated"),
        (field(1, b"net"), "no layer in it has parameters"),
        (field(100, field(7, field(5, b"\0" * 8) + field(7, field(1, varint(3))))), r"shape \(3,\) has 2 values"),
    ],
)
def test_other_files(tmp_path, content, words):
    with pytest.raises(ValueError, match=rf"net\.caffemodel.*{words}"):
        load_weights(nn.Conv2d(3, 2, 3), written(tmp_path, content))
