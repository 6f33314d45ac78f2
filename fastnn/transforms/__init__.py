"""Data augmentation of images, one or a whole batch at a time, in torchvision's names.

Images are NumPy arrays or Tensors, and come back as what they were: (h, w), (c, h, w), or a
batch (n, c, h, w). Each image of a batch is changed by random numbers of its own. (A stack of
grey images (n, h, w) would be taken for one image of n channels: insert a dimension.)
"""

from fastnn.transforms.base import Compose, Lambda, RandomApply, Transform
from fastnn.transforms.colour import (
    ColorJitter,
    GaussianBlur,
    GaussianNoise,
    Normalize,
)
from fastnn.transforms.erasing import Cutout, RandomErasing
from fastnn.transforms.geometry import (
    ElasticTransform,
    RandomAffine,
    RandomHorizontalFlip,
    RandomRotation,
    RandomVerticalFlip,
)
from fastnn.transforms.mixing import MixUp
from fastnn.transforms.shape import (
    CenterCrop,
    ConvertImageDtype,
    Pad,
    RandomCrop,
    Resize,
    ToTensor,
)

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "Cutout",
    "ElasticTransform",
    "GaussianBlur",
    "GaussianNoise",
    "Lambda",
    "MixUp",
    "Normalize",
    "Pad",
    "RandomAffine",
    "RandomApply",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToTensor",
    "Transform",
]
