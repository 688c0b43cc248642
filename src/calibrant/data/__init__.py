"""Data sets on disk, as Lightning data modules."""

from calibrant.data.cifar import cifar10, cifar100
from calibrant.data.cub import cub200
from calibrant.data.dense import DenseData, DenseTask, SegmentationTask
from calibrant.data.digits import digits
from calibrant.data.fashion_mnist import fashion_mnist
from calibrant.data.folders import image_folder
from calibrant.data.image_file_module import FileImageData
from calibrant.data.image_files import FileImageSet, FileImageTask
from calibrant.data.image_set import ImageBatch, ImageSet, ImageTask
from calibrant.data.image_views import Views
from calibrant.data.imagenet import imagenet
from calibrant.data.label_set import LabelSet
from calibrant.data.label_transforms import LabelTransforms
from calibrant.data.labelled import LabelledData
from calibrant.data.list_files import imagenet_lt, inaturalist2018, places_lt
from calibrant.data.loading import Loading
from calibrant.data.longtail import cifar10_lt, cifar100_lt
from calibrant.data.map_set import MapSet, read_folder
from calibrant.data.module import ImageData
from calibrant.data.pair_set import MapBatch, PairSet
from calibrant.data.quickdraw import quickdraw, quickdraw_lt
from calibrant.data.registry import create, list_data, register
from calibrant.data.saliency import duts, saliency
from calibrant.data.segmentation import cityscapes, segmentation, voc
from calibrant.data.svhn import svhn
from calibrant.data.text import newsgroups, text_table
from calibrant.data.text_module import TextData
from calibrant.data.text_set import TextBatch, TextSet, TextTask
from calibrant.data.tiny_imagenet import tiny_imagenet

#: What a stage trains on.
Data = ImageData | FileImageData | DenseData | TextData

__all__ = [
    "Data",
    "DenseData",
    "DenseTask",
    "FileImageData",
    "FileImageSet",
    "FileImageTask",
    "ImageBatch",
    "ImageData",
    "ImageSet",
    "ImageTask",
    "LabelSet",
    "LabelTransforms",
    "LabelledData",
    "Loading",
    "MapBatch",
    "MapSet",
    "PairSet",
    "SegmentationTask",
    "TextBatch",
    "TextData",
    "TextSet",
    "TextTask",
    "Views",
    "cifar10",
    "cifar10_lt",
    "cifar100",
    "cifar100_lt",
    "cityscapes",
    "create",
    "cub200",
    "digits",
    "duts",
    "fashion_mnist",
    "image_folder",
    "imagenet",
    "imagenet_lt",
    "inaturalist2018",
    "list_data",
    "newsgroups",
    "places_lt",
    "quickdraw",
    "quickdraw_lt",
    "read_folder",
    "register",
    "saliency",
    "segmentation",
    "svhn",
    "text_table",
    "tiny_imagenet",
    "voc",
]
