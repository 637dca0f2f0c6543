"""Where the publishers keep the paper's data sets: files, sizes, checksums, and what a person has to get."""

from __future__ import annotations

from ganseg.data.download import RemoteFile

_VGG = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"
_CALTECH = "https://data.caltech.edu/records"
_CELEBA = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_TAICHI = "https://github.com/AliaksandrSiarohin/motion-cosegmentation"
_FRAMES = "https://github.com/AliaksandrSiarohin/video-preprocessing"

FLOWERS = (
    RemoteFile(
        f"{_VGG}/102flowers.tgz", "102flowers.tgz", 344_862_509,
        "52808999861908f626f3c1f4e79d11fa", ".", "jpg",
    ),
    RemoteFile(
        f"{_VGG}/102segmentations.tgz", "102segmentations.tgz", 203_577_493,
        "51375996b6c4f367a4b9f4492d7ecef5", ".", "segmim",
    ),
    RemoteFile(f"{_VGG}/setid.mat", "setid.mat", 14_989, "a5357ecc9cb78c4bef273ce3793fc85c"),
)  # fmt: skip

CUB = (
    RemoteFile(
        f"{_CALTECH}/65de6-vp158/files/CUB_200_2011.tgz?download=1", "CUB_200_2011.tgz", 1_150_585_339,
        "97eceeb196236b17998738112f37df78", "CUB_200_2011", "images",
    ),
    RemoteFile(
        f"{_CALTECH}/w9d68-gec53/files/segmentations.tgz?download=1", "segmentations.tgz", 39_272_883,
        "4d47ba1228eae64f2fa547c47bc65255", ".", "segmentations",
    ),
)  # fmt: skip


def _by_hand(name: str, how: str, optional: bool = False) -> RemoteFile:
    return RemoteFile("", name, how=how, optional=optional)


_MAFL = tuple(
    _by_hand(f"MAFL/{name}.txt", "From the folder MAFL of https://github.com/zhzhanp/TCDCN-face-alignment.")
    for name in ("training", "testing")
)
_PARTITION = _by_hand("list_eval_partition.txt", f"From Eval of the folder that {_CELEBA} links to.", optional=True)

CELEBA_WILD = (
    _by_hand(
        "img_celeba",
        f"The In-The-Wild Images: all parts of img_celeba.7z in Img of the folder that {_CELEBA} links to, "
        "unpacked together with 7-Zip: 202,599 images.",
    ),
    _by_hand("list_landmarks_celeba.txt", f"From Anno of the folder that {_CELEBA} links to."),
    _by_hand("list_bbox_celeba.txt", f"From Anno of the folder that {_CELEBA} links to."),
    *_MAFL,
    _PARTITION,
    _by_hand(
        "list_imsize_celeba.txt",
        "From data/celeba_wild_raw of https://github.com/xingzhehe/GANSeg; without it every opening reads "
        "the sizes from the images, which is slow.",
        optional=True,
    ),
)

CELEBA_ALIGNED = (
    RemoteFile(
        "", "img_align_celeba.zip", None, "00d2c5bc6d35e252742224ab0c1e8fcb", ".", "img_align_celeba",
        f"The Align&Cropped Images: from Img of the folder that {_CELEBA} links to.",
    ),
    _by_hand("list_landmarks_align_celeba.txt", f"From Anno of the folder that {_CELEBA} links to."),
    *_MAFL,
    _PARTITION,
)  # fmt: skip

_ANNOTATED = f"From eval_images.tar.gz, whose address {_TAICHI} has under Evaluation."

TAICHI = (
    _by_hand(
        "taichi-256/train",
        f"The frames to train on: videos of YouTube, cut into PNG frames of 256 x 256 pixels, a folder a "
        f"video, as {_FRAMES} says.",
    ),
    _by_hand("eval_images/taichi-256", f"5,000 frames in train/, 300 in test/. {_ANNOTATED}"),
    _by_hand("landmark/taichi_train_gt.pkl", _ANNOTATED),
    _by_hand("landmark/taichi_test_gt.pkl", _ANNOTATED),
    _by_hand(
        "taichi-test-masks",
        f"Masks of the 300 test frames; {_TAICHI} does not give them: ask its authors. Without them there is no IoU.",
        optional=True,
    ),
)
