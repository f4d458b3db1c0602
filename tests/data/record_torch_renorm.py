"""Records torch's own samples of renorm (its OpInfo) as numbers: inputs, outputs and gradients, in torch_renorm.json.

Needs torch 2.13.0 and expecttest, which the tests do not: `python tests/data/record_torch_renorm.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch.testing._comparison import default_tolerances
from torch.testing._internal.common_methods_invocations import op_db

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


NAN, INF = float("nan"), float("inf")
DIFFERENCES = {
    "a norm of 1e-6, bound 1e-7": (torch.float32, [[6e-7, 8e-7]], 1e-7),
    "norms that overflow float32": (torch.float32, [[1e30, 1e30], [3.0, 4.0]], 1.0),
    "a unit with NaN": (torch.float32, [[NAN, 9.0], [30.0, 40.0]], 5.0),
    "a unit with Inf": (torch.float32, [[INF, 9.0], [30.0, 40.0]], 5.0),
    "a factor that bfloat16 rounds": (torch.bfloat16, [[1.0, 2.0, 3.0]], 1.5),
    "a vector": (torch.float32, [3.0, 4.0], 1.0),
    "a bound of 0": (torch.float32, [[3.0, 4.0]], 0.0),
    "a bound without end": (torch.float32, [[3.0, 4.0]], INF),
}
"""Where renorm_cli.tf does otherwise: dtype, input, bound; axis 0, p 2."""


def numbers(tensor: torch.Tensor) -> list[float]:
    """The elements, with as few digits as still name a float32 or narrower; all digits of a float64."""
    flat = tensor.detach().flatten()
    if tensor.dtype == torch.float64:
        return [float(value) for value in flat]
    return [float(f"{float(value):.9g}") for value in flat]


def recorded(sample: Any, dtype: torch.dtype) -> dict[str, Any]:
    p, axis, limit = sample.args
    x = sample.input.detach().clone().requires_grad_(dtype == torch.float64)
    result = torch.renorm(x, p, axis, limit)
    found = {
        "dtype": str(dtype).removeprefix("torch."),
        "shape": list(x.shape),
        "p": "inf" if p == float("inf") else p,
        "axis": axis,
        "max_norm": limit,
        "tolerances": dict(zip(("rtol", "atol"), default_tolerances(dtype), strict=True)),
        "input": numbers(x),
        "output": numbers(result),
    }
    if x.requires_grad:
        above = torch.linspace(-1, 1, x.numel(), dtype=dtype).reshape(x.shape)
        found["gradient_from_linspace"] = numbers(torch.autograd.grad(result, x, above)[0])
    return found


def differing(name: str) -> dict[str, Any]:
    dtype, values, limit = DIFFERENCES[name]
    x = torch.tensor(values, dtype=dtype)
    found = {"name": name, "dtype": str(dtype).removeprefix("torch."), "max_norm": limit, "input": values}
    try:
        return found | {"output": torch.renorm(x, 2, 0, limit).tolist()}
    except RuntimeError as error:
        return found | {"error": str(error).splitlines()[0]}


def in_lines(values: list[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(map(json.dumps, values)) + "\n]"


def main() -> None:
    torch.manual_seed(7)
    (renorm,) = (op for op in op_db if op.name == "renorm")
    samples = [recorded(sample, dtype) for dtype in DTYPES for sample in renorm.sample_inputs("cpu", dtype)]
    differences = in_lines([differing(name) for name in DIFFERENCES])
    text = f'{{"torch": "{torch.__version__}", "samples": {in_lines(samples)}, "differences": {differences}}}\n'
    Path(__file__).with_name("torch_renorm.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
