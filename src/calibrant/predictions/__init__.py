"""Predictions that anything made: read from files in batches, judged, compared.

`open_predictions` looks at names and shapes alone and returns a `PredictionFile` (npz, npy, safetensors, CSV,
TSV, parquet, folders of maps); nothing is held whole unless `read` is called. `judge` says in one pass whether
it can be trusted, `compare` tests files on the same samples in pairs.
"""

from calibrant.predictions.file import Batch, PredictionFile
from calibrant.predictions.judgement import Judgement, compare, judge
from calibrant.predictions.opening import open_predictions

__all__ = ["Batch", "Judgement", "PredictionFile", "compare", "judge", "open_predictions"]
