"""Predictions that anything made, read from files in batches: npz, npy, safetensors, CSV, TSV, parquet, maps.

`open_predictions` looks at names and shapes alone and returns a `PredictionFile`; nothing is held whole unless
`read` is called.
"""

from calibrant.predictions.file import Batch, PredictionFile
from calibrant.predictions.opening import open_predictions

__all__ = ["Batch", "PredictionFile", "open_predictions"]
