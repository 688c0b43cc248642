"""Trained networks for other programs: ONNX and `torch.export`, with the calibrator folded in."""

from calibrant.export.folding import FoldedNetwork
from calibrant.export.runs import Exported, export_run, find_run

__all__ = ["Exported", "FoldedNetwork", "export_run", "find_run"]
