"""ONNX round trip of the inference path through onnxruntime."""

import io

import pytest
import torch

from mmgcp import layers

from .common import NORMALIZATIONS, features, pooling, relative

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnx')

# ONNX has no factorizations, which rules the exact functions out.
EXPORTABLE = [
    name
    for name in sorted(NORMALIZATIONS)
    if not name.startswith(('power', 'logarithm', 'chol'))
]


def export(module, x):
    buffer = io.BytesIO()
    kwargs = {}
    if 'dynamo' in torch.onnx.export.__code__.co_varnames:
        kwargs['dynamo'] = False
    torch.onnx.export(
        module.eval(),
        (x,),
        buffer,
        input_names=['x'],
        output_names=['vector'],
        dynamic_axes={'x': {0: 'batch'}, 'vector': {0: 'batch'}},
        opset_version=16,
        **kwargs,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        buffer.getvalue(), options, providers=['CPUExecutionProvider']
    )


@pytest.mark.parametrize('name', EXPORTABLE)
def test_round_trip(name):
    module = pooling(name, 6)
    session = export(module, features(2, 6, 4, 4, dtype=torch.float32))
    for batch in (2, 3):
        x = features(batch, 6, 4, 4, dtype=torch.float32, seed=5)
        (out,) = session.run(None, {'x': x.cpu().numpy()})
        with torch.no_grad():
            assert relative(torch.from_numpy(out).to(x.device), module(x)) < 1e-5


def test_dropcov_leaves_nothing_in_the_graph():
    with_dropout = pooling('dropcov', 6)
    x = features(2, 6, 4, 4, dtype=torch.float32)
    session = export(with_dropout, x)
    (out,) = session.run(None, {'x': x.cpu().numpy()})
    with torch.no_grad():
        expected = layers.covariance_vector(x)
        assert torch.equal(with_dropout(x), expected)
    assert relative(torch.from_numpy(out).to(x.device), expected) < 1e-6


@pytest.mark.parametrize('name', ['newton_schulz_5', 'dropcov'])
def test_torch_export(name):
    """The graph capture behind the newer exporter."""
    module = pooling(name, 6).eval()
    x = features(2, 6, 4, 4, dtype=torch.float32)
    with torch.no_grad():
        program = torch.export.export(module, (x,))
        run = program.module() if hasattr(program, 'module') else program
        assert relative(run(x), module(x)) < 1e-6
