"""Names that TensorFlow 1 gives in cells of recurrent networks and canned estimators, and names of small code."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_CELLS = "tensorflow/tensorflow tensorflow/contrib/rnn/python/ops/core_rnn_cell.py"
_CELL = "rnn/multi_rnn_cell/cell_0/"
_ESTIMATOR = "tensorflow/estimator tensorflow_estimator/python/estimator/canned/"

ROWS = (
    Row("basic_lstm_cell/weights", "kernel", "in *4n", _CELL + "basic_lstm_cell/weights", (400, 800), _CELLS),
    Row("lstm_cell/weights", "kernel", "in *4n", _CELL + "lstm_cell/weights", (400, 800), _CELLS),
    Row("gru_cell/gates/weights", "kernel", "in *2n", _CELL + "gru_cell/gates/weights", (400, 400), _CELLS),
    Row("gru_cell/candidate/weights", "kernel", "in *out", _CELL + "gru_cell/candidate/weights", (400, 200), _CELLS),
    Row("Linear/Matrix", "kernel", "in *out", "RNN/GRUCell/Candidate/Linear/Matrix", (400, 200), _CELLS),
    Row("w_f_diag", "scale", "n", "rnn/lstm_cell/w_f_diag", (200,), _CELLS),
    Row("w_i_diag", "scale", "n", "rnn/lstm_cell/w_i_diag", (200,), _CELLS),
    Row("w_o_diag", "scale", "n", "rnn/lstm_cell/w_o_diag", (200,), _CELLS),
    Row("hiddenlayer_0/weights", "kernel", "in *out", "dnn/hiddenlayer_0/weights", (70, 512), _ESTIMATOR + "dnn.py"),
    Row(
        "embedding_weights",
        "embedding",
        "*tokens size",
        "dnn/input_from_feature_columns/input_layer/content_embedding/embedding_weights",
        (5000, 70),
        "tensorflow/tensorflow tensorflow/python/feature_column/feature_column.py",
    ),
    Row(
        "embedding",
        "embedding",
        "*tokens size",
        "Model/embedding",
        (10000, 200),
        "tensorflow/models tutorials/rnn/ptb/ptb_word_lm.py",
    ),
    Row(
        "layer_1/weights",
        "kernel",
        "in *out",
        "layer_1/weights",
        (494, 2048),
        "mozilla/DeepSpeech training/deepspeech_training/train.py",
        beside=("bias",),
    ),
    *(
        Row(
            f"conv1{letter}/weights",
            "kernel",
            "h w in *out",
            f"res_layer1/branch2/conv2{letter}/weights",
            (1, 3, 256, 256),
            "haotianteng/Chiron chiron/cnn.py",
        )
        for letter in "abc"
    ),
    Row("linear_model/bias_weights", "bias", "n", "linear/linear_model/bias_weights", (54,), _ESTIMATOR + "linear.py"),
)
"""The rows of this convention."""
