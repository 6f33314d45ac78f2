"""ONNX Runtime: inference of a model of Gemm and Relu nodes."""

from __future__ import annotations

import importlib
from typing import Any

from fastnn.bench.peers.base import Contestant
from fastnn.bench.workloads.rows import Inference, Run

OPSET, IR = 17, 8  # old enough for every runtime of recent years


class OnnxRuntime(Contestant):
    """A session on the CPU."""

    key, title = "onnx", "ONNX Runtime"
    package, module = "onnxruntime", "onnxruntime"

    def prepare(self, threads: int) -> None:
        """Threads are an option of the session."""
        super().prepare(threads)
        self.threads = threads

    def inference(self, row: Inference) -> Run:
        """session.run on an array."""
        options = self.lib.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = self.lib.ExecutionMode.ORT_SEQUENTIAL
        # its threads spin while a call runs, and not on through the turns of others
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = self.lib.InferenceSession(
            model(row), options, providers=["CPUExecutionProvider"]
        )
        run, feed = session.run, {"x": row.x}
        return Run(lambda: run(None, feed), lambda: run(None, feed))


def model(row: Inference) -> bytes:
    """The row's network; the `onnx` package writes it."""
    try:
        onnx: Any = importlib.import_module("onnx")
    except ImportError:
        raise RuntimeError("needs the package onnx to write the model") from None
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes, tensors, last = [], [], "x"
    for k, (weight, bias) in enumerate(row.weights):
        for name, array in ((f"w{k}", weight), (f"b{k}", bias)):
            tensors.append(onnx.numpy_helper.from_array(array, name))
        nodes.append(
            helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [f"z{k}"], transB=1)
        )
        last = f"z{k}"
        if k + 1 < len(row.weights):
            nodes.append(helper.make_node("Relu", [last], [f"y{k}"]))
            last = f"y{k}"
    ends = [
        helper.make_tensor_value_info(name, floats, [row.batch, size])
        for name, size in (("x", row.sizes[0]), (last, row.sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    made.ir_version = IR
    return bytes(made.SerializeToString())
