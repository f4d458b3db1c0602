"""What tests share: builders, oracles, and ways to run the tool.

NumPy gets one BLAS thread before it is imported, as on the command line: on a machine where all processors are busy,
several threads take many times longer for a matrix.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
