"""ONNX Runtime: a session for each workload."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from fastnn.bench import modules
from fastnn.bench.peers.base import Contestant
from fastnn.bench.workloads.rows import Array, Inference, Kernel, ModularInference, Run

OPSET, IR = 17, 8  # old enough for every runtime of recent years


class OnnxRuntime(Contestant):
    """A session on the CPU."""

    key, title = "onnx", "ONNX Runtime"
    package, module = "onnxruntime", "onnxruntime"
    language = "onnx"

    def prepare(self, threads: int) -> None:
        """Threads are an option of the session."""
        super().prepare(threads)
        self.threads = threads

    def kernel(self, row: Kernel) -> Run:
        """The form, a function of (graph, x, names of the other inputs). These are part of
        the model, so that the session may arrange them once. Tensors stay its own."""
        x, *others = row.inputs()
        graph = Graph()
        names = [graph.tensor(f"w{k}", array) for k, array in enumerate(others)]
        session = self.session(
            graph.model(x.shape, row.forms["onnx"](graph, "x", *names))
        )
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", self.lib.OrtValue.ortvalue_from_numpy(x))
        binding.bind_output("y")

        def call() -> None:
            session.run_with_iobinding(binding)

        def result() -> list[Array]:
            call()
            found: list[Array] = binding.copy_outputs_to_cpu()
            return found

        return Run(call, result)

    def inference(self, row: Inference) -> Run:
        """session.run on an array."""
        graph, last = Graph(), "x"
        for k, (weight, bias) in enumerate(row.weights):
            if k:
                last = graph.node("Relu", last)
            names = graph.tensor(f"w{k}", weight), graph.tensor(f"b{k}", bias)
            last = graph.node("Gemm", last, *names, transB=1)
        return self.predictions(graph.model(row.x.shape, last), row.x)

    def modular_inference(self, row: ModularInference) -> Run:
        """The same of a network of modules."""
        graph, x = Network(), row.x
        for name, array in row.state(modules.state(row.module)).items():
            graph.tensor(name, array)
        last = modules.run(graph, row.module, "x")
        return self.predictions(graph.model(x.shape, last), x)

    def predictions(self, model: bytes, x: Array) -> Run:
        """From an array to an array."""
        run, feed = self.session(model).run, {"x": x}
        return Run(lambda: run(None, feed), lambda: run(None, feed))

    def session(self, model: bytes) -> Any:
        """On so many threads."""
        options = self.lib.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = self.lib.ExecutionMode.ORT_SEQUENTIAL
        # its threads spin while a call runs, and not on through the turns of others
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return self.lib.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )


class Graph:
    """A model from x to y, node by node; the `onnx` package writes it."""

    def __init__(self) -> None:
        try:
            self.onnx: Any = importlib.import_module("onnx")
        except ImportError:
            raise RuntimeError("needs the package onnx to write the model") from None
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def tensor(self, name: str, array: Array) -> str:
        """Numbers that are part of the model; returns their name."""
        self.tensors.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, *inputs: str | None, **attributes: Any) -> str:
        """A node of the operator op; returns the name of what it makes."""
        made = f"y{len(self.nodes)}"
        names = [name for name in inputs if name is not None]
        self.nodes.append(self.onnx.helper.make_node(op, names, [made], **attributes))
        return made

    def constant(self, values: list[int]) -> str:
        """Integers that are part of the model; returns their name."""
        numbers = self.onnx.numpy_helper.from_array
        name = f"i{len(self.tensors)}"
        self.tensors.append(numbers(np.array(values, np.int64), name))
        return name

    def unsqueeze(self, x: str) -> str:
        """x with a dimension of 1 in front."""
        return self.node("Unsqueeze", x, self.constant([0]))

    def squeeze(self, x: str, dim: int) -> str:
        """x without that dimension of 1."""
        return self.node("Squeeze", x, self.constant([dim]))

    def split(self, x: str, parts: int) -> list[str]:
        """x in even parts along dimension 0."""
        if parts == 1:
            return [x]
        made = [f"y{len(self.nodes)}p{k}" for k in range(parts)]
        self.nodes.append(self.onnx.helper.make_node("Split", [x], made, axis=0))
        return made

    def model(self, shape: tuple[int, ...], last: str) -> bytes:
        """The whole, for an x of this shape; `last` comes out as y."""
        helper, floats = self.onnx.helper, self.onnx.TensorProto.FLOAT
        x = helper.make_tensor_value_info("x", floats, shape)
        y = helper.make_tensor_value_info("y", floats, None)
        for node in self.nodes:
            node.output[:] = ["y" if name == last else name for name in node.output]
        graph = helper.make_graph(self.nodes, "network", [x], [y], self.tensors)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        made.ir_version = IR
        return bytes(made.SerializeToString())


class Network(Graph):
    """The functions of modules.Ops as nodes; x is a name."""

    def conv(
        self, x: Any, weight: str, bias: str | None, stride: int, padding: int
    ) -> Any:
        """Conv knows the kernel's size by the weight."""
        return self.node(
            "Conv", x, weight, bias, strides=[stride] * 2, pads=[padding] * 4
        )

    def batch_norm(self, x: Any, name: str, eps: float) -> Any:
        """By running statistics."""
        keys = ("weight", "bias", "running_mean", "running_var")
        names = [f"{name}.{key}" for key in keys]
        return self.node("BatchNormalization", x, *names, epsilon=eps)

    def relu(self, x: Any) -> Any:
        """Relu."""
        return self.node("Relu", x)

    def max_pool(self, x: Any, size: int, stride: int, padding: int) -> Any:
        """MaxPool."""
        return self.node(
            "MaxPool",
            x,
            kernel_shape=[size] * 2,
            strides=[stride] * 2,
            pads=[padding] * 4,
        )

    def mean_pool(self, x: Any) -> Any:
        """Of whole channels."""
        return self.node("GlobalAveragePool", x)

    def add(self, x: Any, y: Any) -> Any:
        """Add."""
        return self.node("Add", x, y)

    def flatten(self, x: Any) -> Any:
        """Flatten."""
        return self.node("Flatten", x)

    def linear(self, x: Any, weight: str, bias: str) -> Any:
        """Gemm."""
        return self.node("Gemm", x, weight, bias, transB=1)
