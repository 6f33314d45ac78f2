"""Help around modules: bounds on gradients, parameters as one vector, carried states."""

from fastnn.nn.utils import rnn
from fastnn.nn.utils.clip_grad import (
    all_finite,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from fastnn.nn.utils.convert_parameters import (
    parameters_to_vector,
    vector_to_parameters,
)
from fastnn.nn.utils.stateful import (
    carried_states,
    load_carried_states,
    reset_states,
)

__all__ = [
    "all_finite",
    "carried_states",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
    "load_carried_states",
    "parameters_to_vector",
    "reset_states",
    "rnn",
    "vector_to_parameters",
]
