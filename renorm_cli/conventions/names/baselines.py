"""Names that the policies of OpenAI's baselines give."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_UTILS, _MODELS = "openai/baselines baselines/a2c/utils.py", "openai/baselines baselines/common/models.py"
_HEADS = "openai/baselines baselines/common/policies.py"

ROWS = (
    Row("c1/w", "kernel", "h w in *out", "ppo2_model/pi/c1/w", (8, 8, 4, 32), _MODELS),
    Row("c1/b", "bias", "1 n 1 1|1 1 1 n|n", "ppo2_model/pi/c1/b", (1, 32, 1, 1), _UTILS),
    Row("fc1/w", "kernel", "in *out", "ppo2_model/pi/fc1/w", (3136, 512), _MODELS, True),
    Row("mlp_fc0/w", "kernel", "in *out", "ppo2_model/pi/mlp_fc0/w", (17, 64), _MODELS),
    Row("pi/w", "kernel", "in *out", "ppo2_model/pi/w", (512, 6), "openai/baselines baselines/common/distributions.py"),
    Row("vf/w", "kernel", "in *out", "ppo2_model/vf/w", (512, 1), _HEADS),
    Row("q/w", "kernel", "in *out", "acer_model/q/w", (512, 6), _HEADS),
    Row("wx", "kernel", "in *4n", "ppo2_model/pi/lstm/wx", (512, 1024), _UTILS),
    Row("wh", "kernel", "n *4n", "ppo2_model/pi/lstm/wh", (256, 1024), _UTILS),
    Row(
        "logstd",
        "parameter",
        "1 n",
        "ppo2_model/pi/logstd",
        (1, 6),
        "openai/baselines baselines/common/distributions.py",
    ),
)
"""The rows of this convention."""
