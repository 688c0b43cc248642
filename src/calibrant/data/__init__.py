"""Data sets on disk, as Lightning data modules."""

from calibrant.data.cifar import cifar10, cifar100
from calibrant.data.dense import DenseData, DenseTask
from calibrant.data.digits import digits
from calibrant.data.image_set import ImageBatch, ImageSet, ImageTask
from calibrant.data.loading import Loading
from calibrant.data.longtail import cifar10_lt, cifar100_lt
from calibrant.data.map_set import MapSet, read_folder
from calibrant.data.module import ImageData
from calibrant.data.pair_set import MapBatch, PairSet
from calibrant.data.registry import create, list_data, register
from calibrant.data.saliency import duts, saliency
from calibrant.data.text import newsgroups, text_table
from calibrant.data.text_module import TextData
from calibrant.data.text_set import TextBatch, TextSet, TextTask

#: What a stage trains on.
Data = ImageData | DenseData | TextData

__all__ = [
    "Data",
    "DenseData",
    "DenseTask",
    "ImageBatch",
    "ImageData",
    "ImageSet",
    "ImageTask",
    "Loading",
    "MapBatch",
    "MapSet",
    "PairSet",
    "TextBatch",
    "TextData",
    "TextSet",
    "TextTask",
    "cifar10",
    "cifar10_lt",
    "cifar100",
    "cifar100_lt",
    "create",
    "digits",
    "duts",
    "list_data",
    "newsgroups",
    "read_folder",
    "register",
    "saliency",
    "text_table",
]
