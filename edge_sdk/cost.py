"""What a network costs to run, layer by layer: Mult-Adds, parameters, bytes.

Two ways to the same figures: `cost_of_graph` counts a .tflite file's own tensors, and
`cost_of_architecture` computes a MobileNet from its paper. A Mult-Add is one multiplication
with one addition, and only convolutions and fully connected layers are counted, as the papers
do. Everything here is arithmetic over shapes; nothing is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from edge_sdk.errors import ModelError, UsageError, unknown_name
from edge_sdk.tflite_file import BITS, Graph, Operator, Tensor

# conv: spatial, k > 1. fully-connected: also a 1x1 convolution of a 1x1 map, which is the same.
KINDS = ("conv", "pointwise", "depthwise", "fully-connected", "other")


@dataclass(frozen=True)
class LayerCost:
    """One operator. mult_adds, parameters, biases: counts (parameters include the biases).
    weight_bytes: kernel and bias as stored. activation_bytes_*: non-constant tensors as stored.
    live_bytes: all activations that must exist while it runs, its own and those kept for later.
    weight_dtype: of the kernel, "" without one. activation_dtype: of the first input."""

    name: str
    kind: str
    mult_adds: int
    parameters: int
    biases: int
    weight_bytes: int
    activation_bytes_in: int
    activation_bytes_out: int
    live_bytes: int
    weight_dtype: str
    activation_dtype: str


@dataclass(frozen=True)
class ModelCost:
    """A network's layers in the order they run, and their totals."""

    layers: tuple[LayerCost, ...]

    def mult_adds_by_kind(self) -> dict[str, int]:
        return self._by_kind(lambda layer: layer.mult_adds)

    def parameters_by_kind(self) -> dict[str, int]:
        return self._by_kind(lambda layer: layer.parameters)

    def activation_bytes_by_kind(self) -> dict[str, int]:
        """Bytes read and written as activations."""
        return self._by_kind(lambda layer: layer.activation_bytes_in + layer.activation_bytes_out)

    def weight_bytes_by_kind(self) -> dict[str, int]:
        return self._by_kind(lambda layer: layer.weight_bytes)

    @property
    def mult_adds(self) -> int:
        return sum(layer.mult_adds for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Kernels and biases, batch normalisation folded in."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def kernel_parameters(self) -> int:
        """Kernels alone, the count of Howard et al. 2017: neither biases nor batch
        normalisation. Its table 2 follows from no other: 3,139,584 of 4,209,088 is 74.59 %."""
        return sum(layer.parameters - layer.biases for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        return sum(layer.weight_bytes for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Bytes read and written as activations: the sum over layers of inputs and outputs."""
        return sum(layer.activation_bytes_in + layer.activation_bytes_out for layer in self.layers)

    @property
    def peak_activation_bytes(self) -> int:
        """The most activation bytes alive at once. A lower bound of an interpreter's arena,
        which also holds scratch buffers, packed kernels and gaps."""
        return max((layer.live_bytes for layer in self.layers), default=0)

    def dtypes(self) -> tuple[str, str]:
        """(kernel type, activation type) of the layers that do the most Mult-Adds."""
        work: dict[tuple[str, str], int] = {}
        for layer in self.layers:
            pair = (layer.weight_dtype, layer.activation_dtype)
            work[pair] = work.get(pair, 0) + layer.mult_adds
        return max(work, key=lambda pair: work[pair], default=("", ""))

    def _by_kind(self, of: Callable[[LayerCost], int]) -> dict[str, int]:
        return {k: sum(of(layer) for layer in self.layers if layer.kind == k) for k in KINDS}


# --- from a file ---------------------------------------------------------------------------


def cost_of_graph(graph: Graph) -> ModelCost:
    """The cost of a .tflite graph for a batch of one (a free first dimension counts as 1).

    Raises ModelError for a tensor whose shape is not known before run time."""
    # A constant that is only converted (float16 kernels) is stored once, as its source.
    constants = {t.index: t for t in graph.tensors if t.data is not None}
    operators = []
    for op in graph.operators:
        if op.name == "DEQUANTIZE" and op.inputs[0] in constants:
            constants[op.outputs[0]] = constants[op.inputs[0]]
        else:
            operators.append(op)

    def activations(indices: Iterable[int]) -> set[int]:
        return {i for i in indices if i >= 0 and i not in constants}

    last_use = {i: n for n, op in enumerate(operators) for i in activations(op.inputs)}
    last_use |= dict.fromkeys(graph.outputs, len(operators))
    size = {i: _nbytes(graph.tensors[i]) for op in operators
            for i in activations((*op.inputs, *op.outputs))}  # fmt: skip
    alive = activations(graph.inputs)
    layers = []
    for n, op in enumerate(operators):
        inputs, outputs = activations(op.inputs), activations(op.outputs)
        alive |= inputs | outputs
        kind, mult_adds = _work(graph, op)
        stored = [constants[i] for i in op.inputs[1:3] if i in constants] if kind != "other" else []
        biases = sum(t.elements for t in stored[1:])
        # A branch of no inputs (a variable's handle) has no activation type.
        first = graph.tensors[op.inputs[0]].dtype if op.inputs and op.inputs[0] >= 0 else ""
        layers.append(
            LayerCost(
                name=graph.tensors[op.outputs[0]].name if op.outputs else op.name,
                kind=kind,
                mult_adds=mult_adds,
                parameters=sum(t.elements for t in stored),
                biases=biases,
                weight_bytes=sum(t.nbytes for t in stored),
                activation_bytes_in=sum(size[i] for i in inputs),
                activation_bytes_out=sum(size[i] for i in outputs),
                live_bytes=sum(size.get(i, 0) for i in alive),
                weight_dtype=stored[0].dtype if stored else "",
                activation_dtype=first,
            )
        )
        alive = {i for i in alive if last_use.get(i, -1) > n}
    return ModelCost(tuple(layers))


def _shape(tensor: Tensor) -> tuple[int, ...]:
    batch, *rest = tensor.shape or (1,)
    shape = (1 if batch == -1 else batch, *rest)
    if any(d < 0 for d in shape):
        raise ModelError(
            f"tensor '{tensor.name}' has shape {tensor.shape}: its size is not known before run "
            "time; convert the model again with a fixed input size"
        )
    return shape


def _nbytes(tensor: Tensor) -> int:
    return -(-math.prod(_shape(tensor)) * BITS.get(tensor.dtype, 0) // 8)


def _work(graph: Graph, op: Operator) -> tuple[str, int]:
    """Kind and Mult-Adds. Kernel layouts of TensorFlow Lite: convolution (out, height, width,
    in), depthwise (1, height, width, channels), fully connected (out, in)."""
    if op.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
        return "other", 0
    needed = 3 if op.name == "TRANSPOSE_CONV" else 2
    rank = 2 if op.name == "FULLY_CONNECTED" else 4
    if (
        min(op.inputs[:needed], default=-1) < 0
        or len(op.inputs) < needed
        or not op.outputs
        or len(graph.tensors[op.inputs[1]].shape) != rank
    ):
        raise ModelError(f"the model is damaged: a {op.name} lacks its kernel or its output")
    kernel = _shape(graph.tensors[op.inputs[1]])
    output = _shape(graph.tensors[op.outputs[0]])
    if op.name == "FULLY_CONNECTED":
        return "fully-connected", math.prod(output) * kernel[1]
    if op.name == "DEPTHWISE_CONV_2D":
        return "depthwise", math.prod(output) * kernel[1] * kernel[2]
    if op.name == "TRANSPOSE_CONV":
        # Each value of the third input meets the whole kernel once per output channel.
        return "conv", math.prod(_shape(graph.tensors[op.inputs[2]])) * math.prod(kernel[:3])
    mult_adds = math.prod(output) * math.prod(kernel[1:])
    if kernel[1:3] != (1, 1):
        return "conv", mult_adds
    return ("fully-connected" if output[1:3] == (1, 1) else "pointwise"), mult_adds


# --- from a paper --------------------------------------------------------------------------

# Howard et al. 2017, table 1: (stride, output channels) of the separable layers.
_V1 = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512),
       *((1, 512),) * 5, (2, 1024), (1, 1024))  # fmt: skip
# Sandler et al. 2018, table 2: expansion t, channels c, repeats n, stride s.
_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
       (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip


@dataclass
class _Builder:
    """Layers one after the other; `size` and `channels` are those of the last output."""

    size: int
    dtype: str
    channels: int = 3
    kept: int = 0  # bytes of a skip connection that is still to be added
    layers: list[LayerCost] = field(default_factory=list)

    def bytes(self, elements: int) -> int:
        return -(-elements * BITS[self._activation] // 8)

    @property
    def _activation(self) -> str:
        return "int8" if self.dtype == "int4" else self.dtype

    def add(
        self, name: str, kind: str, out: int, *, kernel: int = 0, stride: int = 1, inputs: int = 1
    ) -> None:
        """One layer with `same` padding; kernel 0: a layer without weights, of `inputs` inputs."""
        before = self.size**2 * self.channels
        size = 1 if kind == "pool" else -(-self.size // stride)
        after = size**2 * out
        fan_in = 0 if not kernel else kernel**2 * (1 if kind == "depthwise" else self.channels)
        weights, biases = fan_in * out, out if kernel else 0
        bias_bits = BITS[self.dtype if self.dtype.startswith("float") else "int32"]
        read, written = inputs * self.bytes(before), self.bytes(after)
        self.layers.append(
            LayerCost(
                name=f"{name}_{len(self.layers)}",
                kind=kind if kind in KINDS else "other",
                mult_adds=after * fan_in,
                parameters=weights + biases,
                biases=biases,
                weight_bytes=-(-weights * BITS[self.dtype] // 8) + biases * bias_bits // 8,
                activation_bytes_in=read,
                activation_bytes_out=written,
                live_bytes=read + written + self.kept,
                weight_dtype=self.dtype if kernel else "",
                activation_dtype=self._activation,
            )
        )
        self.size, self.channels = size, out

    def head(self, classes: int) -> ModelCost:
        self.add("pool", "pool", self.channels)
        self.add("logits", "fully-connected", classes, kernel=1)
        self.add("softmax", "other", classes)
        return ModelCost(tuple(self.layers))


def _mobilenet_v1(
    alpha: float, size: int, classes: int, dtype: str, *, shallow: bool = False, full: bool = False
) -> ModelCost:
    net = _Builder(size, dtype)
    net.add("conv", "conv", int(32 * alpha), kernel=3, stride=2)
    for stride, filters in _V1[:6] + _V1[11:] if shallow else _V1:
        out = int(filters * alpha)
        if full:
            net.add("conv", "conv", out, kernel=3, stride=stride)
        else:
            net.add("depthwise", "depthwise", net.channels, kernel=3, stride=stride)
            net.add("pointwise", "pointwise", out, kernel=1)
    return net.head(classes)


def _mobilenet_v2(alpha: float, size: int, classes: int, dtype: str) -> ModelCost:
    net = _Builder(size, dtype)
    net.add("conv", "conv", _round_to_8(32 * alpha), kernel=3, stride=2)
    for expansion, filters, repeats, first_stride in _V2:
        out = _round_to_8(int(filters * alpha))
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            residual = stride == 1 and net.channels == out
            block_input = net.bytes(net.size**2 * net.channels)
            if expansion > 1:
                # Its own input is the skip connection: counted once.
                net.add("expand", "pointwise", expansion * net.channels, kernel=1)
            net.kept = block_input if residual else 0
            net.add("depthwise", "depthwise", net.channels, kernel=3, stride=stride)
            net.add("project", "pointwise", out, kernel=1)
            net.kept = 0
            if residual:
                net.add("add", "other", out, inputs=2)
    net.add("conv", "pointwise", _round_to_8(1280 * max(alpha, 1.0)), kernel=1)
    return net.head(classes)


def _round_to_8(channels: float) -> int:
    """To the nearest multiple of 8, at least 8 and never below 90 % (slim's and Keras' rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


ARCHITECTURES: dict[str, Callable[[float, int, int, str], ModelCost]] = {
    "mobilenet_v1": _mobilenet_v1,
    "mobilenet_v1_full": lambda a, s, c, d: _mobilenet_v1(a, s, c, d, full=True),
    "mobilenet_v1_shallow": lambda a, s, c, d: _mobilenet_v1(a, s, c, d, shallow=True),
    "mobilenet_v2": _mobilenet_v2,
}


def cost_of_architecture(
    arch: str, alpha: float = 1.0, size: int = 224, classes: int = 1000, dtype: str = "float32"
) -> ModelCost:
    """A MobileNet for `size` x `size` RGB images, batch normalisation folded into biases.

    mobilenet_v1: Howard et al. 2017, channels int(filters * alpha) as Keras has them.
    mobilenet_v1_shallow: without the five 14x14x512 layers; mobilenet_v1_full: full 3x3
    convolutions for the separable ones (both are rows of its tables 4 and 5).
    mobilenet_v2: Sandler et al. 2018, channels rounded to multiples of 8 and never below 90 %,
    the last convolution of 1280 widened only for alpha above 1.
    dtype: float32, float16, int16, int8, uint8, or int4 (kernels int4, activations int8).

    Published parameter counts: V1's tables count kernels alone (`kernel_parameters`); V2's 3.4 M
    is neither count (kernels 3.47 M, with biases 3.49 M) to a rounding, only to a truncation.
    Raises UsageError for a name or value that is not one of these."""
    if arch not in ARCHITECTURES:
        raise UsageError(unknown_name("architecture", arch, ARCHITECTURES))
    dtypes = ("float32", "float16", "int16", "int8", "uint8", "int4")
    if dtype not in dtypes:
        raise UsageError(unknown_name("dtype", dtype, dtypes))
    if not (math.isfinite(alpha) and int(32 * alpha) >= 1):
        raise UsageError(f"alpha is {alpha}; valid: 1/32 or more, usually 0.25 to 1.4")
    if size < 1 or classes < 1:
        raise UsageError(f"size is {size} and classes {classes}; both must be 1 or more")
    return ARCHITECTURES[arch](alpha, size, classes, dtype)
