"""The bound on the norm of every unit while a model is trained, for TensorFlow and Keras.

`renorm` is a function of tensors for a training loop of your own, `RenormConstraint` a Keras constraint for one layer,
`RenormCallback` a Keras callback for the variables of a model that patterns name. What they bound, `renorm-ckpt check`
finds bounded.
"""

from __future__ import annotations

from renorm_cli.training.callback import RenormCallback
from renorm_cli.training.constraint import RenormConstraint
from renorm_cli.training.function import renorm

__all__ = ["RenormCallback", "RenormConstraint", "renorm"]

MaxNorm = RenormConstraint  # its former name
