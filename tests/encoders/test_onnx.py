"""ONNX files: what is found out about them, and which are refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from serplatform.encoders.open import find_encoder, open_encoder
from serplatform.errors import BadInputError
from tests.support.tiny_encoders import DIM, HOP, WINDOW, tiny_onnx


def by_hand(path, samples):
    """The network of :func:`tiny_onnx` in NumPy."""
    model = onnx.load(path)
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    first = frames @ weights["kernel"][:, 0].T
    return [first, np.tanh(first @ weights["matrix1"])]


@pytest.mark.parametrize("shape", [("samples",), (1, "samples"), ("batch", 1, "samples")])
def test_layers_are_outputs(shape, tmp_path, clip):
    path = tiny_onnx(tmp_path / "tiny.onnx", input_shape=shape)
    encoder = open_encoder(str(path))
    assert (encoder.name, encoder.kind, encoder.num_layers) == ("tiny", "onnx", 1)
    assert (encoder.dim, encoder.hop, encoder.frame_shift) == (DIM, HOP, 0.02)
    found = encoder.hidden_states(clip, [0, 1])
    for layer, expected in enumerate(by_hand(path, clip)):
        np.testing.assert_allclose(found[layer], expected, rtol=1e-4, atol=1e-5)
    assert encoder.hidden_states(clip[:3], [1])[1].shape == (1, DIM)


@pytest.mark.parametrize("hop", [128, 160, 192, 200, 256, 320, 480, 640, 1000])
def test_the_frame_shift_is_found(hop, tmp_path):
    assert open_encoder(str(pooling(tmp_path / "x.onnx", hop))).hop == hop


@pytest.mark.parametrize("hop", [161, 165, 323])
def test_an_odd_frame_shift_is_refused(hop, tmp_path):
    with pytest.raises(BadInputError, match="no frame shift in steps of half a millisecond"):
        open_encoder(str(pooling(tmp_path / "x.onnx", hop)))


def test_weights_beside_the_file_belong_to_it(tmp_path, clip):
    one = open_encoder(str(tiny_onnx(tmp_path / "one.onnx")))
    path = tiny_onnx(tmp_path / "two.onnx", external=True)
    two = open_encoder(str(path))
    data = tmp_path / "two.onnx.data"
    assert two.files == (path, data)
    np.testing.assert_array_equal(one.hidden_states(clip, [1])[1], two.hidden_states(clip, [1])[1])
    before = path.read_bytes()
    data.unlink()
    tiny_onnx(path, seed=1, external=True)
    assert path.read_bytes() == before  # all that differs lies in the other file
    assert open_encoder(str(path)).sha256 != two.sha256
    assert find_encoder("two", one.sha256, [tmp_path]).path == tmp_path / "one.onnx"
    data.unlink()
    with pytest.raises(BadInputError, match=r"two\.onnx"):
        open_encoder(str(path))


def graph_file(path, nodes, inputs, outputs, initializer=()):
    infos = [
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in side]
        for side in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "graph", *infos, list(initializer))
    opsets = [helper.make_opsetid("", 17)]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def pooling(path, hop, *, kind=TensorProto.FLOAT, shape=(1, 1, "s")):
    """Means of ``hop`` samples: (1, T, 1)."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[hop], strides=[hop]),
        helper.make_node("Transpose", ["y"], ["z"], perm=[0, 2, 1]),
    ]
    outputs = [("z", kind, (1, "t", 1))]
    return graph_file(path, nodes, [("x", kind, shape)], outputs)


def test_what_is_no_onnx_file(tmp_path):
    for content in (b"", b"hello", tiny_onnx(tmp_path / "a.onnx").read_bytes()[:500]):
        (tmp_path / "b.onnx").write_bytes(content)
        with pytest.raises(BadInputError, match=r"b\.onnx: is not a whole ONNX file"):
            open_encoder(str(tmp_path / "b.onnx"))


def test_inputs_that_are_no_waveform(tmp_path):
    path = tiny_onnx(tmp_path / "fixed.onnx", input_shape=(1, 16_000))
    with pytest.raises(BadInputError, match="whose number of samples is free"):
        open_encoder(str(path))
    nodes = [helper.make_node("Add", ["x", "mask"], ["y"])]
    both = [(name, TensorProto.FLOAT, (1, "s")) for name in ("x", "mask")]
    graph_file(path, nodes, both, [("y", TensorProto.FLOAT, (1, "s"))])
    with pytest.raises(BadInputError, match="it must have one"):
        open_encoder(str(path))


def test_outputs_that_are_no_frames(tmp_path):
    path = tmp_path / "x.onnx"
    x = [("x", TensorProto.FLOAT, (1, "s"))]
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)]
    graph_file(path, nodes, x, [("y", TensorProto.FLOAT, (1,))])
    with pytest.raises(BadInputError, match=r"output 0 \(y\) has shape \[1\]"):
        open_encoder(str(path))
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)]
    graph_file(path, nodes, x, [("y", TensorProto.FLOAT, (1, 1))])
    with pytest.raises(BadInputError, match="is no frame shift"):
        open_encoder(str(path))


def test_outputs_of_different_widths(tmp_path):
    nodes = [
        helper.make_node("AveragePool", ["x"], ["m"], kernel_shape=[320], strides=[320]),
        helper.make_node("Transpose", ["m"], ["y"], perm=[0, 2, 1]),
        helper.make_node("Concat", ["y", "y"], ["z"], axis=2),
    ]
    outputs = [("y", TensorProto.FLOAT, (1, "t", 1)), ("z", TensorProto.FLOAT, (1, "t", 2))]
    graph_file(tmp_path / "x.onnx", nodes, [("x", TensorProto.FLOAT, (1, 1, "s"))], outputs)
    with pytest.raises(BadInputError, match="all outputs must have the same"):
        open_encoder(str(tmp_path / "x.onnx"))


def test_another_sampling_rate_in_the_metadata(tmp_path):
    tiny_onnx(tmp_path / "ok.onnx", metadata={"sampling_rate": "16000"})
    assert open_encoder(str(tmp_path / "ok.onnx")).hop == HOP
    tiny_onnx(tmp_path / "x.onnx", metadata={"sampling_rate": "8000"})
    with pytest.raises(BadInputError, match="ask for audio at 8000 Hz"):
        open_encoder(str(tmp_path / "x.onnx"))
