"""The input's picture out of the decoded features: what a small trained decoder can see in them.

Nothing here changes what is sent. ``make_picture`` trains a convolutional network on the
calibration set, from features as the host decodes them to the picture that went in, and measures it
on inputs that were held out. That it works at all is the point: features are no anonymous numbers.
"""

from __future__ import annotations

from isthmus_gen.picture.collection import PictureSet, collect_pictures
from isthmus_gen.picture.inputs import as_pictures
from isthmus_gen.picture.make import (
    MadePicture,
    check_picture_input,
    make_picture,
    picture_of,
)
from isthmus_gen.picture.quality import psnr, ssim
from isthmus_gen.picture.training import PicturePlan, plan_picture, train_picture

__all__ = [
    "MadePicture",
    "PicturePlan",
    "PictureSet",
    "as_pictures",
    "check_picture_input",
    "collect_pictures",
    "make_picture",
    "picture_of",
    "plan_picture",
    "psnr",
    "ssim",
    "train_picture",
]
