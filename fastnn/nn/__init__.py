"""Modules: networks as objects that own their parameters, in PyTorch's names."""

from typing import TYPE_CHECKING

from fastnn.nn import functional, init, utils
from fastnn.nn._state import LoadResult
from fastnn.nn.activation import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softmin,
    Softplus,
    Tanh,
)
from fastnn.nn.attention import MultiheadAttention
from fastnn.nn.cells import GRUCell, LSTMCell, RNNCell, RNNCellBase
from fastnn.nn.container import (
    ModuleDict,
    ModuleList,
    ParameterDict,
    ParameterList,
    Sequential,
)
from fastnn.nn.conv import (
    CausalConv1d,
    Conv1d,
    Conv2d,
    ConvTranspose1d,
    ConvTranspose2d,
)
from fastnn.nn.decoding import Decoder, EncoderDecoder, OutputRNN
from fastnn.nn.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d
from fastnn.nn.embedding import Embedding
from fastnn.nn.fold import Fold, Unfold
from fastnn.nn.linear import Identity, Linear
from fastnn.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from fastnn.nn.maxout import Maxout
from fastnn.nn.module import Module
from fastnn.nn.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
from fastnn.nn.padding import (
    CircularPad1d,
    CircularPad2d,
    ConstantPad1d,
    ConstantPad2d,
    ReflectionPad1d,
    ReflectionPad2d,
    ReplicationPad1d,
    ReplicationPad2d,
    ZeroPad1d,
    ZeroPad2d,
)
from fastnn.nn.parameter import Parameter
from fastnn.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from fastnn.nn.recurrent import GRU, LSTM, RNN
from fastnn.nn.recurrent_base import RNNBase
from fastnn.nn.sequence_pooling import AttentionPooling, SequencePooling
from fastnn.nn.shape import Flatten, Unflatten
from fastnn.nn.transformer import (
    SinusoidalPositions,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from fastnn.nn.upsampling import Upsample, UpsamplingBilinear2d, UpsamplingNearest2d

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AlphaDropout",
    "AttentionPooling",
    "AvgPool1d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "CausalConv1d",
    "CircularPad1d",
    "CircularPad2d",
    "ConstantPad1d",
    "ConstantPad2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Decoder",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Embedding",
    "EncoderDecoder",
    "Flatten",
    "Fold",
    "GRUCell",
    "GroupNorm",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LoadResult",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "Maxout",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "OutputRNN",
    "PReLU",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "RNNBase",
    "RNNCell",
    "RNNCellBase",
    "ReLU",
    "ReLU6",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "SequencePooling",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SinusoidalPositions",
    "SmoothL1Loss",
    "Softmax",
    "Softmin",
    "Softplus",
    "Tanh",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "Unflatten",
    "Unfold",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "ZeroPad1d",
    "ZeroPad2d",
    "functional",
    "init",
    "utils",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        from fastnn._absent import absent

        raise absent("fastnn.nn", name)
