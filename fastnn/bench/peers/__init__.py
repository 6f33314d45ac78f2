"""Who takes part. A further contestant is a class in a file of its own, and a name here."""

from fastnn.bench.peers.base import Contestant as Contestant
from fastnn.bench.peers.jax_ import Jax
from fastnn.bench.peers.numpy_ import NumPy
from fastnn.bench.peers.onnx_ import OnnxRuntime
from fastnn.bench.peers.ours import Compiled, Eager
from fastnn.bench.peers.sklearn_ import ScikitLearn
from fastnn.bench.peers.thinc_ import Thinc
from fastnn.bench.peers.torch_ import Torch, TorchCompiled

ALWAYS: list[type[Contestant]] = [Compiled, Eager, NumPy]
PEERS: list[type[Contestant]] = [
    Torch,
    TorchCompiled,
    Jax,
    OnnxRuntime,
    ScikitLearn,
    Thinc,
]
